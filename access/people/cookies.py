"""The cookies that hold a session, or an attempt to begin one.

Cookies know no ports: over plain HTTP its name has the port in it, so that two hubs on one machine do not overwrite each other's.
"""

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

from access.refused import CallerRefused


def is_secure(scope: Scope) -> bool:
    """Whether the request came over TLS, as far as our own server or a trusted proxy says."""
    return scope["scheme"] in ("https", "wss")


def session_of(scope: Scope) -> str:
    """The text of the session that the request sends; empty without one."""
    return cookie_parser(Headers(scope=scope).get("cookie", "")).get(_name(scope), "")


def set_session(response: Response, scope: Scope, text: str) -> None:
    """Have the browser keep the session until it is closed, and send it to us only."""
    response.set_cookie(_name(scope), text, path="/", secure=is_secure(scope), httponly=True, samesite="lax")


def forget_session(response: Response, scope: Scope) -> None:
    response.delete_cookie(_name(scope), path="/", secure=is_secure(scope), httponly=True, samesite="lax")


def set_attempt(response: Response, scope: Scope, text: str) -> None:
    """Have the browser keep what says that it was this one which was sent to the identity provider. It comes back from another site."""
    response.set_cookie(f"{_name(scope)}-oidc", text, max_age=600, path="/", secure=is_secure(scope), httponly=True, samesite="lax")


def attempt_of(scope: Scope) -> str:
    """The text of the attempt that this browser has made; empty without one."""
    return cookie_parser(Headers(scope=scope).get("cookie", "")).get(f"{_name(scope)}-oidc", "")


def check_own_page(scope: Scope) -> None:
    """Refuse a request with a session that changes something and does not say that a page of ours sent it.

    Browsers send the cookie with requests from any page. ``RequestGuard`` has compared these headers with our address where they are
    given; here they have to be given.
    """
    headers = Headers(scope=scope)
    reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    if not reads and "origin" not in headers and headers.get("sec-fetch-site") != "same-origin":
        raise CallerRefused(403, "origin_missing", "with a session, requests that change something need the header Origin; use an API key")


def _name(scope: Scope) -> str:
    return "__Host-feedbackloop" if is_secure(scope) else f"feedbackloop-{scope['server'][1]}"
