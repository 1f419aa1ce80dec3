"""Tokens by which a recruiter's browser uses the elements in a page of another origin.

A product's server has them made, with its API key, and gives them to the page. A token speaks for one recruiter, from the pages of one
origin, on the few routes that the elements use, until it expires or the API key ends. Serving and the hub sign and verify with a subkey of
the key that pseudonyms are made with, which both have. Within its time a token can be used often: two judgments of one pair are one.
"""

import hashlib
import hmac
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from access.refused import CallerRefused, invalid_key
from access.token_text import parts_of, token_text
from storage.events import Moment, now
from streams.http.visible_text import one_line

PREFIX = "fbw_"
LIFETIME = timedelta(minutes=15)
REMOVED = "recruiter_removed"  # code of the refusals after which an element asks no more
CLOCKS = timedelta(minutes=10)  # by which the clock of the process that made a token may be ahead


class Claims(BaseModel):
    """What a token says.

    Attributes
    ----------
    recruiter : pseudonym of whom it speaks for
    origin : whose pages may send it
    pair_id : the only pair that may be judged with it; None for all, and for thumbs
    key_id : the API key with which it was made; None in open mode
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recruiter: str
    origin: str
    pair_id: UUID | None
    key_id: str | None
    expires_at: Moment


class WidgetTokens:
    """Makes tokens for pages of ``origins``, and reads them."""

    def __init__(self, pseudonym_key: bytes, origins: Collection[str], clock: Callable[[], datetime] = now) -> None:
        self.origins = frozenset(origin.lower() for origin in origins)
        self._key = hmac.digest(pseudonym_key, b"feedbackloop widget tokens", hashlib.sha256)
        self._clock = clock

    def made(self, recruiter: str, origin: str, key_id: str | None, pair_id: UUID | None = None) -> str:
        """A token for a recruiter, given as a pseudonym."""
        expires_at = self._clock() + LIFETIME
        claims = Claims(recruiter=recruiter, origin=origin.lower(), pair_id=pair_id, key_id=key_id, expires_at=expires_at)
        raw = claims.model_dump_json().encode()
        return token_text(PREFIX, raw, self._proof(raw))

    def read(self, text: str) -> Claims:
        """What the token says; raises :class:`CallerRefused` if it is not valid now."""
        try:
            raw, given = parts_of(PREFIX, text)
        except ValueError as error:
            raise invalid_key("this is no widget token") from error
        if not hmac.compare_digest(given, self._proof(raw)):
            raise invalid_key("this widget token was altered, or made by another installation")
        try:
            claims = Claims.model_validate_json(raw)
        except ValidationError as error:
            raise invalid_key("this widget token was made by another version of this program; have a new one made") from error
        moment = self._clock()
        if not moment < claims.expires_at <= moment + LIFETIME + CLOCKS:
            until = f"{claims.expires_at:%H:%M:%S} UTC, and here it is {moment:%H:%M:%S}"
            raise invalid_key(f"this widget token is valid until {until}; have a new one made, and set the clocks if it is new")
        if claims.origin not in self.origins:
            raise CallerRefused(403, "origin_not_allowed", f"{one_line(claims.origin)} is not in [access] widget_origins any more")
        return claims

    def _proof(self, raw: bytes) -> bytes:
        return hmac.digest(self._key, raw, hashlib.sha256)
