"""What pages of other origins may ask: the routes of the elements, with a widget token."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from access.caller import Caller
from access.refused import CallerRefused
from streams.http.request_guard import FROM_ELSEWHERE
from streams.http.visible_text import one_line

JUDGING = frozenset({("POST", "/v1/judgments"), ("POST", "/v1/feedback")})
ROUTES = JUDGING | {("GET", "/v1/queue"), ("POST", "/v1/queue/renew"), ("POST", "/v1/queue/release")}
PATHS = frozenset(path for _, path in ROUTES)


def check_page(scope: Scope, caller: Caller) -> None:
    """Check that the request is one for a widget token, and from a page of its origin.

    A request without an Origin is not from another origin's page: a token cannot bind other programs.

    Raises
    ------
    CallerRefused
        It is not; or a page of another origin has sent no widget token.
    """
    claims = caller.widget
    if claims is None:
        text = f"pages of {one_line(scope[FROM_ELSEWHERE])} need a widget token, which their server has made by POST /v1/widget-tokens"
        raise CallerRefused(401, "missing_widget_token", text)
    if scope["type"] != "http" or (scope["method"], scope["path"]) not in (ROUTES if claims.pair_id is None else JUDGING):
        raise CallerRefused(
            403, "not_allowed", "a widget token is for judging only, and one for a pair only for that pair", caller=caller.name
        )
    given = Headers(scope=scope).get("origin", claims.origin)
    if given.lower() != claims.origin:
        text = f"this widget token is for pages of {one_line(claims.origin)}, not of {one_line(given)}"
        raise CallerRefused(403, "origin_not_allowed", text, caller=caller.name)


class WidgetPreflights:
    """Middleware that answers the CORS preflights of pages of ``origins``. Add it after ``AccessGuard``: preflights carry no token."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and scope["path"] in PATHS:
            headers = Headers(scope=scope)
            if "access-control-request-method" in headers and headers.get("origin", "").lower() in self._origins:
                allowed = {
                    "Access-Control-Allow-Methods": ", ".join(method for method, path in ROUTES if path == scope["path"]),
                    "Access-Control-Allow-Headers": "Authorization, Content-Type",
                    "Access-Control-Max-Age": "600",
                }
                await Response(status_code=204, headers=allowed)(scope, receive, send)
                return
        await self._app(scope, receive, send)
