"""Middleware that finds out who makes a request, before any route runs; :class:`access.caller.Needs` then refuses what they may not do."""

from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access.caller import CALLER, OPEN, Caller
from access.control import AccessControl
from access.key_check import KeyCheck, bearer, open_widget_caller
from access.refusals import Refusal
from access.refused import CallerRefused
from access.settings import AccessSettings
from access.widget.elsewhere import check_page
from access.widget.script import PATH as WIDGET
from access.widget.tokens import PREFIX as WIDGET_TOKEN
from streams.http.request_guard import FROM_ELSEWHERE, log_refusal

# Paths that anybody may ask for, exactly as they are written here; their routes state no permission.
PUBLIC = frozenset({"/healthz", "/readyz", WIDGET})


class AccessGuard:
    """The middleware; add it before those for CORS and ``RequestGuard``, which then run before it."""

    def __init__(self, app: ASGIApp, access: AccessControl | None = None) -> None:
        self._app = app
        self._access = access or AccessControl()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        check = self._access.check
        try:
            caller = _open(scope, self._access) if check is None else _checked(scope, self._access.settings, check)
            if caller.widget is not None or FROM_ELSEWHERE in scope:
                check_page(scope, caller)
                scope["headers"] = [each for each in scope["headers"] if each[0] != b"x-feedbackloop-source"]  # it is a product's
            scope[CALLER] = caller
        except CallerRefused as refused:
            if check is not None and refused.caller:
                check.follower.refusals.note(Refusal(refused.caller, "*", refused.status))
            await _answer(refused, scope, receive, send)
            return
        await self._app(scope, receive, send if check is None or not caller.name else _watched(scope, caller, check, send))


def _open(scope: Scope, access: AccessControl) -> Caller:
    headers = Headers(scope=scope)
    forwarded = next((name for name in headers if name in ("forwarded", "via", "x-real-ip") or name.startswith("x-forwarded-")), None)
    if forwarded is None or access.settings.proxy_authenticates:
        token = bearer(headers.get("authorization", ""))
        return open_widget_caller(access.tokens.read(token)) if token.startswith(WIDGET_TOKEN) else OPEN
    raise CallerRefused(
        403,
        "proxy_not_allowed",
        f"the request came through a proxy ({forwarded}), and in open mode everybody whom it lets through may do everything; set [access] "
        'mode = "required", or proxy_authenticates = true if it lets nobody through who has not signed in to it',
    )


def _checked(scope: Scope, access: AccessSettings, check: KeyCheck) -> Caller:
    headers = Headers(scope=scope)
    address = scope["client"][0] if scope.get("client") else ""
    if access.behind_proxy:
        address = _client_address(address, headers, access)
        scope["client"] = (address, 0)
    return check.caller(headers.get("authorization", ""), address, public=scope["path"] in PUBLIC)


def _client_address(peer: str, headers: Headers, access: AccessSettings) -> str:
    """The last address on the request's way that is not one of our proxies: those before it could be invented."""
    way = [part.strip() for line in headers.getlist("x-forwarded-for") for part in line.split(",")]
    while way and _is_proxy(peer, access):
        peer = way.pop()
    return peer[:100]


def _is_proxy(address: str, access: AccessSettings) -> bool:
    try:
        return any(ip_address(address) in network for network in access.behind_proxy)
    except ValueError:
        return False


def _watched(scope: Scope, caller: Caller, check: KeyCheck, send: Send) -> Send:
    """A ``send`` that counts a refusal of what the caller may not do, and ends a stream or channel once the key has ended."""
    authorization = Headers(scope=scope).get("authorization", "")
    streams = closed = False

    def may_go_on() -> bool:  # a token of our own processes need only be valid when it opens a stream
        return caller.kind == "own" or check.is_valid(authorization)

    async def sent(message: Message) -> None:
        nonlocal streams, closed
        kind = message["type"]
        if kind == "http.response.start" and message["status"] == 403:
            path = getattr(scope.get("route"), "path", "")
            check.follower.refusals.note(Refusal(caller.name, f"{scope['method']} {path}", 403))
        elif kind == "http.response.body":
            if streams and not may_go_on():
                await send({"type": kind, "body": b"", "more_body": False})
                raise ClientDisconnect
            streams = message.get("more_body", False)
        elif kind == "websocket.send" and not closed and not may_go_on():
            closed = True
            await send({"type": "websocket.close", "code": 1008})
        if not closed:
            await send(message)

    return sent


async def _answer(refused: CallerRefused, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await JSONResponse(refused.body, refused.status, refused.headers)(scope, receive, send)
        return
    await receive()
    log_refusal(scope, refused.status, str(refused))
    await send({"type": "websocket.close", "code": 1008})
