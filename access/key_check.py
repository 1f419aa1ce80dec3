"""Finds out in the required mode who sends a request: by the API key or token in ``Authorization``, or the session in a cookie."""

import hmac
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from access.caller import NOBODY, Caller
from access.change_log import TrustedKeys
from access.follower import AccessFollower
from access.keys import AccessState, KeyText
from access.limits import RateLimits
from access.own import PREFIX, own_caller
from access.people.sessions import Sessions
from access.refused import CallerRefused, invalid_key, not_ready
from access.widget.tokens import PREFIX as WIDGET_TOKEN
from access.widget.tokens import REMOVED, Claims, WidgetTokens
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


class Credentials(NamedTuple):
    """What a request sends to show who it is from: the header, and the text of a session."""

    authorization: str = ""
    session: str = ""


class KeyCheck:
    """Checks the requests to the process ``audience``.

    Parameters
    ----------
    follower : knows the keys
    trusted : the keys that may have signed the tokens of our own processes
    limits : of requests by one key, widget or person; and of those by nobody who is known, from one address
    sessions : None where nobody signs in
    """

    def __init__(
        self,
        audience: str,
        follower: AccessFollower,
        trusted: TrustedKeys,
        limits: RateLimits,
        tokens: WidgetTokens,
        sessions: Sessions | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.follower = follower
        self._tokens, self._sessions = tokens, sessions
        self._audience, self._trusted, self._limits, self._clock = audience, trusted, limits, clock

    def caller(self, given: Credentials, address: str, *, public: bool) -> Caller:
        """Who sends a request with these credentials from this address. Requests for what is ``public`` may be anybody's.

        Raises
        ------
        CallerRefused
            Nobody who may call; or too often.
        """
        try:
            caller = self._identified(given, uses=True)
        except CallerRefused as refused:
            if public:
                return NOBODY
            if not refused.caller:
                self._count(f"address:{address}", "")
            raise
        if caller.kind in ("key", "widget", "session") and not public:
            self._count(caller.name, caller.name)
        return caller

    def is_still(self, caller: Caller, given: Credentials) -> bool:
        """Whether the credentials are still this caller's, and permit the same."""
        try:
            return self._identified(given, uses=False) == caller
        except CallerRefused:
            return False

    def _identified(self, given: Credentials, *, uses: bool) -> Caller:
        if not (text := bearer(given.authorization)):
            if given.session and self._sessions is not None:
                return self._sessions.caller(given.session, uses=uses)
            raise CallerRefused(401, "missing_api_key", "an API key is needed: send it as 'Authorization: Bearer fbl_…'")
        if text.startswith(PREFIX):
            return own_caller(text, self._audience, self._trusted, self._clock())
        if text.startswith(WIDGET_TOKEN):
            return self._widget_caller(self._tokens.read(text))
        sent = KeyText.parsed(text)
        if sent is None:
            raise invalid_key("this is no API key of this service; they look like fbl_…")
        key = self._state.keys.get(sent.key_id)
        if key is None or not hmac.compare_digest(sent.hash, key.secret_hash):
            raise invalid_key("there is no such API key; 'feedbackloop keys list' shows those that there are")
        if (objection := key.objection(self._clock())) is not None:
            raise invalid_key(objection, key.caller.name)
        return key.caller

    def _widget_caller(self, claims: Claims) -> Caller:
        state = self._state
        key = state.keys.get(claims.key_id or "")
        caller = Caller.by_widget(claims)
        if key is None or key.objection(self._clock()) is not None:
            raise invalid_key("the API key with which this widget token was made has ended; have a new one made", caller.name)
        if state.is_removed(claims.recruiter):
            raise CallerRefused(403, REMOVED, "this recruiter was removed from the people of the hub", caller=caller.name)
        return caller

    @property
    def _state(self) -> AccessState:
        if (state := self.follower.state) is None:
            raise not_ready(self.follower.why_not_ready())
        return state

    def _count(self, whom: str, caller: str) -> None:
        if (wait := self._limits.wait(whom)) is not None:
            text = f"too many requests within a minute; send the next one in {wait} s"
            raise CallerRefused(429, "rate_limit_exceeded", text, caller=caller, retry_after=wait)
