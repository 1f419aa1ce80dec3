"""Finds out in the required mode who sends a request: by the API key or the token in its ``Authorization``."""

import hmac
from collections.abc import Callable
from datetime import datetime

from access.caller import NOBODY, Caller
from access.changes import TrustedKeys
from access.follower import AccessFollower
from access.keys import KeyText
from access.limits import RateLimits
from access.own import PREFIX, own_caller
from access.refused import CallerRefused, invalid_key
from storage.events import now


class KeyCheck:
    """Checks the requests to the process ``audience``.

    Parameters
    ----------
    follower : knows the keys
    trusted : the keys that may have signed the tokens of our own processes
    limits : of requests by one key; and of those without a valid one, from one address
    """

    def __init__(
        self, audience: str, follower: AccessFollower, trusted: TrustedKeys, limits: RateLimits, clock: Callable[[], datetime] = now
    ) -> None:
        self.follower = follower
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
        if caller.kind == "key" and not public:
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
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise CallerRefused(401, "missing_api_key", "an API key is needed: send it as 'Authorization: Bearer fbl_…'")
        if text.startswith(PREFIX):
            return own_caller(text, self._audience, self._trusted, self._clock())
        given = KeyText.parsed(text)
        if given is None:
            raise invalid_key("this is no API key of this service; they look like fbl_…")
        if (state := self.follower.state) is None:
            raise CallerRefused(503, "not_ready", self.follower.why_not_ready() or "not ready", retry_after=1)
        key = state.keys.get(given.key_id)
        if key is None or not hmac.compare_digest(given.hash, key.secret_hash):
            raise invalid_key("there is no such API key; 'feedbackloop keys list' shows those that there are")
        if (objection := key.objection(self._clock())) is not None:
            raise invalid_key(objection, key.caller.name)
        return key.caller

    def _count(self, whom: str, caller: str) -> None:
        if (wait := self._limits.wait(whom)) is not None:
            text = f"too many requests within a minute; send the next one in {wait} s"
            raise CallerRefused(429, "rate_limit_exceeded", text, caller=caller, retry_after=wait)
