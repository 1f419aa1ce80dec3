"""A refusal of the guard, before any route runs."""

from streams.http.request_checks import Refused


class CallerRefused(Refused):
    """Nobody who may call, or too often. ``caller`` is the name of one who is known; ``headers`` are those of the answer."""

    def __init__(self, status: int, code: str, message: str, *, caller: str = "", retry_after: int | None = None) -> None:
        super().__init__(status, code, message, "Authorization" if status == 401 else None)
        self.caller = caller
        self.headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


def not_ready(why: str | None) -> CallerRefused:
    """The refusal while nobody can be let in, because of ``why``."""
    return CallerRefused(503, "not_ready", why or "not ready", retry_after=1)


def invalid_key(message: str, caller: str = "") -> CallerRefused:
    """The refusal of a key or token that is not valid."""
    return CallerRefused(401, "invalid_api_key", message, caller=caller)
