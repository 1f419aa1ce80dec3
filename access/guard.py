"""Middleware that finds out who makes a request, before any route runs; :class:`access.caller.Needs` then refuses what they may not do."""

from ipaddress import ip_address
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access.caller import CALLER, OPEN, Caller
from access.control import AccessControl
from access.key_check import Credentials, KeyCheck, bearer, open_widget_caller
from access.people.cookies import check_own_page, session_of
from access.people.routes import PAGE as SIGN_IN_PAGE
from access.people.routes import PATHS as SIGN_IN
from access.refusals import Refusal
from access.refused import CallerRefused
from access.settings import AccessSettings
from access.watch import Watch
from access.widget.elsewhere import check_page
from access.widget.script import PATH as WIDGET
from access.widget.tokens import PREFIX as WIDGET_TOKEN
from streams.http.request_guard import FROM_ELSEWHERE, log_refusal

# Paths that anybody may ask for, exactly as they are written here; their routes state no permission.
PUBLIC = frozenset({"/healthz", "/readyz", WIDGET, *SIGN_IN})


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
            given = Credentials()
            if check is None:
                caller = _open(scope, self._access)
            else:
                _believe_proxy(scope, self._access.settings)
                given = Credentials(Headers(scope=scope).get("authorization", ""), session_of(scope))
                caller = check.caller(given, _address(scope), public=scope["path"] in PUBLIC)
            if caller.kind == "session":
                check_own_page(scope)
            if caller.widget is not None or FROM_ELSEWHERE in scope:
                check_page(scope, caller)
            if caller.kind in ("session", "widget"):
                # Nobody whom we know by a session or a token is simulated.
                scope["headers"] = [each for each in scope["headers"] if each[0] != b"x-feedbackloop-source"]
            scope[CALLER] = caller
        except CallerRefused as refused:
            if check is not None and refused.caller:
                check.follower.refusals.note(Refusal(refused.caller, "*", refused.status))
            await self._answer(refused, scope, receive, send)
            return
        if check is None or not caller.name:
            await self._app(scope, receive, send)
            return

        def may_go_on() -> bool:  # a token of our own processes need only be valid when it opens a stream
            return caller.kind == "own" or check.is_still(caller, given)

        await Watch(may_go_on, _counting(scope, caller, check, send)).run(self._app, scope, receive)

    async def _answer(self, refused: CallerRefused, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if refused.status == 401 and self._access.sign_in is not None and _opens_a_page(scope):
                asked = quote(scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""))
                response: Response = RedirectResponse(f"{self._access.path_prefix}{SIGN_IN_PAGE}?next={asked}", 303)
            else:
                response = JSONResponse(refused.body, refused.status, refused.headers)
            await response(scope, receive, send)
            return
        await receive()
        log_refusal(scope, refused.status, str(refused))
        await send({"type": "websocket.close", "code": 1008})


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


def _believe_proxy(scope: Scope, access: AccessSettings) -> None:
    """Take from the headers of one of our proxies where the request came from, and whether by TLS."""
    peer = _address(scope)
    if _is_proxy(peer, access):
        headers = Headers(scope=scope)
        scope["client"] = (_client_address(peer, headers, access), 0)
        if headers.get("x-forwarded-proto", "").rpartition(",")[2].strip() == "https":
            scope["scheme"] = "wss" if scope["type"] == "websocket" else "https"


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def _opens_a_page(scope: Scope) -> bool:
    """Whether a browser asks for something to show, rather than a program for data."""
    return scope["method"] == "GET" and not scope["path"].startswith("/v1/") and "text/html" in Headers(scope=scope).get("accept", "")


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


def _counting(scope: Scope, caller: Caller, check: KeyCheck, send: Send) -> Send:
    """A ``send`` that counts a refusal of what the caller may not do."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 403:
            path = getattr(scope.get("route"), "path", "")
            check.follower.refusals.note(Refusal(caller.name, f"{scope['method']} {path}", 403))
        await send(message)

    return sent
