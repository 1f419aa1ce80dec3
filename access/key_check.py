"""Finds out in the required mode who sends a request: by the API key or the token in its ``Authorization``."""

import hmac
from collections.abc import Callable, Mapping
from datetime import datetime

from access.caller import NOBODY, Caller
from access.change_log import TrustedKeys
from access.follower import AccessFollower
from access.keys import ApiKey, KeyText
from access.limits import RateLimits
from access.own import PREFIX, own_caller
from access.refused import CallerRefused, invalid_key
from access.widget.tokens import PREFIX as WIDGET_TOKEN
from access.widget.tokens import Claims, WidgetTokens
from storage.events import now


def bearer(authorization: str) -> str:
    """The key or token in the header; empty if there is none."""
    scheme, _, text = authorization.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def open_widget_caller(claims: Claims) -> Caller:
    """Who calls in open mode with a widget token that says this; raises :class:`CallerRefused` if it was made in required mode."""
    if claims.key_id is not None:
        raise invalid_key("this widget token was made with an API key, and here the mode is open; have a new one made")
    return Caller.by_widget(claims)


class KeyCheck:
    """Checks the requests to the process ``audience``.

    Parameters
    ----------
    follower : knows the keys
    trusted : the keys that may have signed the tokens of our own processes
    limits : of requests by one key or widget; and of those without a valid one, from one address
    """

    def __init__(
        self,
        audience: str,
        follower: AccessFollower,
        trusted: TrustedKeys,
        limits: RateLimits,
        tokens: WidgetTokens,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.follower = follower
        self._tokens = tokens
        self._audience, self._trusted, self._limits, self._clock = audience, trusted, limits, clock

    def caller(self, authorization: str, address: str, *, public: bool) -> Caller:
        """Who sends a request with this header from this address. Requests for what is ``public`` may be anybody's.

        Raises
        ------
        CallerRefused
            Nobody who may call; or too often.
        """
        try:
            caller = self._identified(authorization)
        except CallerRefused as refused:
            if public:
                return NOBODY
            if not refused.caller:
                self._count(f"address:{address}", "")
            raise
        if caller.kind in ("key", "widget") and not public:
            self._count(caller.name, caller.name)
        return caller

    def is_valid(self, authorization: str) -> bool:
        """Whether the header is still that of somebody who may call."""
        try:
            self._identified(authorization)
        except CallerRefused:
            return False
        return True

    def _identified(self, authorization: str) -> Caller:
        if not (text := bearer(authorization)):
            raise CallerRefused(401, "missing_api_key", "an API key is needed: send it as 'Authorization: Bearer fbl_…'")
        if text.startswith(PREFIX):
            return own_caller(text, self._audience, self._trusted, self._clock())
        if text.startswith(WIDGET_TOKEN):
            return self._widget_caller(self._tokens.read(text))
        given = KeyText.parsed(text)
        if given is None:
            raise invalid_key("this is no API key of this service; they look like fbl_…")
        key = self._keys.get(given.key_id)
        if key is None or not hmac.compare_digest(given.hash, key.secret_hash):
            raise invalid_key("there is no such API key; 'feedbackloop keys list' shows those that there are")
        if (objection := key.objection(self._clock())) is not None:
            raise invalid_key(objection, key.caller.name)
        return key.caller

    def _widget_caller(self, claims: Claims) -> Caller:
        key = self._keys.get(claims.key_id or "")
        caller = Caller.by_widget(claims)
        if key is None or key.objection(self._clock()) is not None:
            raise invalid_key("the API key with which this widget token was made has ended; have a new one made", caller.name)
        return caller

    @property
    def _keys(self) -> Mapping[str, ApiKey]:
        if (state := self.follower.state) is None:
            raise CallerRefused(503, "not_ready", self.follower.why_not_ready() or "not ready", retry_after=1)
        return state.keys

    def _count(self, whom: str, caller: str) -> None:
        if (wait := self._limits.wait(whom)) is not None:
            text = f"too many requests within a minute; send the next one in {wait} s"
            raise CallerRefused(429, "rate_limit_exceeded", text, caller=caller, retry_after=wait)
