"""Middleware that finds out who makes a request, before any route runs; :class:`access.caller.Needs` then refuses what they may not do."""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from access.caller import CALLER, OPEN
from access.settings import AccessSettings
from access.widget.script import PATH as WIDGET
from streams.http.errors import CLIENT, error_body
from streams.http.request_guard import log_refusal

# Paths that anybody may ask for, exactly as they are written here; their routes state no permission.
PUBLIC = frozenset({"/healthz", "/readyz", WIDGET})


class AccessGuard:
    """The middleware; add it before ``RequestGuard``, which then runs before it."""

    def __init__(self, app: ASGIApp, access: AccessSettings | None = None) -> None:
        self._app = app
        self._access = access or AccessSettings()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            forwarded = None if self._access.proxy_authenticates else forwarding_header(Headers(scope=scope))
            if forwarded is not None:
                text = (
                    f"the request came through a proxy ({forwarded}), and everybody whom it lets through may do everything; set [access] "
                    "proxy_authenticates = true if it lets nobody through who has not signed in to it"
                )
                await _refuse(403, "proxy_not_allowed", text, scope, receive, send)
                return
            scope[CALLER] = OPEN
        await self._app(scope, receive, send)


def forwarding_header(headers: Headers) -> str | None:
    """The name of a header by which proxies say for whom they ask; None without one."""
    return next((name for name in headers if name in ("forwarded", "via", "x-real-ip") or name.startswith("x-forwarded-")), None)


async def _refuse(status: int, code: str, message: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await JSONResponse(error_body(message, CLIENT, code=code), status)(scope, receive, send)
        return
    await receive()
    log_refusal(scope, status, message)
    await send({"type": "websocket.close", "code": 1008})
