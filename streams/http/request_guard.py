"""Middleware of all our apps: request limits, security headers on every response, and logging of refusals and failures.

The checks of request headers are in ``streams.http.request_checks``.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from streams.http.errors import FAILED, SERVER, allowed_methods, error_body
from streams.http.request_checks import Refused, objection
from streams.http.visible_text import one_line

log = logging.getLogger(__name__)

MAX_BODY = 1_048_576  # bytes
BODY_TIME = 30.0  # seconds from the end of the headers to the end of the body

PAGES = ("text/html", "text/javascript", "application/javascript")  # scripts too: a worker has the policy of its script
NO_PAGE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_HEADERS = {name.lower().encode(): value.encode() for name, value in HEADERS.items()}
UNLOGGED = frozenset({"/readyz"})  # polled about every second, and a 503 there is not a refusal
PROTOCOL_CLOSE_CODES = (1002, 1007, 1009)  # WebSocket closed for a protocol error, invalid data, or a message above MAX_BODY
LOGGED = "feedbackloop.logged"  # scope key: the failure has been logged
FROM_ELSEWHERE = "feedbackloop.from_elsewhere"  # scope key: the origin of a page that may ask for this path only
STARTED = "feedbackloop.begun"  # scope key: the response has started


class RequestGuard:
    """The outermost middleware of each of our apps: add it last.

    Parameters
    ----------
    allowed_hosts : host names allowed besides loopback
    allowed_origins : origins besides our own whose pages may send requests
    page_policy : Content-Security-Policy of pages and scripts; other responses get ``NO_PAGE``
    body_time : seconds within which a body has to arrive
    scripts : paths of scripts that pages of any site may load
    origins_of_paths : further origins whose pages may send requests, by path. The app has to check these: the scope has ``FROM_ELSEWHERE``
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Collection[str] = (),
        page_policy: str = NO_PAGE,
        body_time: float = BODY_TIME,
        allowed_origins: Collection[str] = (),
        scripts: Collection[str] = (),
        origins_of_paths: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._app = app
        self._origins = frozenset(origin.lower() for origin in allowed_origins)
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._scripts = frozenset(scripts)
        self._origins_of_paths = {path: frozenset(origins) for path, origins in (origins_of_paths or {}).items()}
        self._page_policy = page_policy
        self._body_time = body_time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, self._hardened(scope, _LoggedSend(scope, send)))
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origins = self._origins_at(scope["path"])
        refused = objection(scope, headers, self._hosts, origins, self._scripts)
        if (origin := headers.get("origin", "").lower()) in origins - self._origins:
            scope[FROM_ELSEWHERE] = origin
        if refused is not None and refused.status == 415 and "app" in scope and scope["method"] not in allowed_methods(scope):
            refused = None  # no route gets the request: the answer is 404 or 405
        expects = headers.get("expect", "").lower() == "100-continue"
        body: bytes | None = b""
        if _has_body(headers) and not (expects and (refused or _content_length(headers) > MAX_BODY)):
            try:  # read the body even when refusing: a client that is still sending would not read the response
                async with asyncio.timeout(self._body_time):
                    body = await _read(receive, keep=refused is None)
            except TimeoutError:
                refused = refused or Refused(
                    408, "request_timeout", f"the body did not arrive within {self._body_time:g} seconds; send it again"
                )
            except ClientDisconnect:
                return
        if refused is None and (body is None or _content_length(headers) > MAX_BODY):
            refused = Refused(413, "request_too_large", f"the body has more than {MAX_BODY:,} bytes; shorten it", "body")
        if refused is not None:
            close = {"Connection": "close"} if refused.status == 408 else None
            await JSONResponse(refused.body, refused.status, close)(scope, receive, send)
            return
        try:
            await self._app(scope, _replayed(body or b"", receive) if _has_body(headers) else receive, send)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  the edge of the process: logged with traceback
            await answer_failure(error, scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = objection(scope, Headers(scope=scope), self._hosts, self._origins)
        if refused is not None:
            await receive()
            log_refusal(scope, refused.status, str(refused))
            await send({"type": "websocket.close", "code": 1008})  # uvicorn logs an error after a response with a body
            return
        try:
            await self._app(scope, _logged_messages(scope, receive), _logged_handshake(scope, send))
        except (ClientDisconnect, WebSocketDisconnect):
            return
        except Exception as error:
            if type(error).__name__ == "ClientDisconnected":  # raised by uvicorn when the client is gone
                return
            log.exception("the WebSocket %s failed", one_line(scope["path"]), exc_info=error)
            await send({"type": "websocket.close", "code": 1011})

    def _origins_at(self, path: str) -> frozenset[str]:
        return self._origins | self._origins_of_paths.get(path, frozenset())

    def _hardened(self, scope: Scope, send: Send) -> Send:
        origin = Headers(scope=scope).get("origin", "")
        origins = self._origins_at(scope["path"])

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [header for header in message["headers"] if header[0] not in _HEADERS] + list(_HEADERS.items())
                headers = MutableHeaders(scope=message)
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
                if scope["path"] in self._scripts:
                    headers["Cross-Origin-Resource-Policy"] = "cross-origin"
                page = headers.get("content-type", "").partition(";")[0] in PAGES
                headers.setdefault("Content-Security-Policy", self._page_policy if page else NO_PAGE)  # routes may set a stricter one
                if origin.lower() in origins and "access-control-allow-origin" not in headers:
                    headers["Access-Control-Allow-Origin"] = origin  # on refusals of this middleware too: the page may read them
                    headers.add_vary_header("Origin")
                if "etag" not in headers:  # assets have an ETag or their own Cache-Control
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return sent


async def answer_failure(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Log an unexpected exception with its traceback, and answer 500 unless the response has started."""
    scope[LOGGED] = True
    log.error("%s %s failed", scope["method"], one_line(scope["path"]), exc_info=error)
    if not scope.get(STARTED):
        await JSONResponse(error_body(FAILED, SERVER), 500)(scope, receive, send)


def log_refusal(scope: Scope, status: int, message: str) -> None:
    """Log a refusal as one line, with all client input truncated and escaped."""
    client = (scope.get("client") or ("?", 0))[0]
    method = "WebSocket" if scope["type"] == "websocket" else scope["method"]
    level = logging.WARNING if status >= 500 else logging.INFO
    log.log(level, "%d to %s for %s %s: %s", status, client, one_line(method), one_line(scope["path"]), one_line(message))


class _LoggedSend:
    """A ``send`` that logs each 4xx or 5xx response once."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._scope[STARTED] = True
            self._status = message["status"]
        elif self._status >= 400:
            if self._scope["path"] not in UNLOGGED and not self._scope.get(LOGGED):
                log_refusal(self._scope, self._status, _error_message(message.get("body", b"")))
            self._status = 0
        await self._send(message)


def _logged_handshake(scope: Scope, send: Send) -> Send:
    opened = False

    async def sent(message: Message) -> None:
        nonlocal opened
        if message["type"] == "websocket.close" and not opened:
            log_refusal(scope, 403, message.get("reason") or "the handshake was refused")
        opened = True
        await send(message)

    return sent


def _logged_messages(scope: Scope, receive: Receive) -> Receive:
    async def received() -> Message:
        message = await receive()
        if message["type"] == "websocket.disconnect" and message.get("code") in PROTOCOL_CLOSE_CODES:
            log_refusal(scope, 400, f"closed with {message['code']}: {message.get('reason') or 'invalid message'}")
        return message

    return received


def _error_message(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _content_length(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


async def _read(receive: Receive, *, keep: bool) -> bytes | None:
    """Read the body to its end; None if it exceeds ``MAX_BODY`` (the rest is read and discarded) or ``keep`` is false."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if not keep or size > MAX_BODY:
            parts.clear()
        else:
            parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts) if keep and size <= MAX_BODY else None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that first returns the body that was read already."""
    waiting: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
