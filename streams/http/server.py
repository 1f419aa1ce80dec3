"""uvicorn with limits on the size and time of request headers ("the head"), enforced before the app sees a request.

Without them, input buffered by the parser (headers that never end, one endless header, trailers) would grow without bound.
"""

from asyncio import TimerHandle, Transport
from typing import Any

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from streams.http.errors import CLIENT, error_body
from streams.http.request_guard import HEADERS, MAX_BODY, NO_PAGE, log

MAX_HEAD = 65_536  # bytes of request line and headers together
HEAD_TIME = 30.0  # seconds from the connection's start, or the first byte of a later request, to the end of its head
LINGER = 2.0  # seconds that a refused client has to read the response
PIPELINED = 16  # requests that a client may pipeline


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with limits on the head."""

    head_time = HEAD_TIME

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._started = False  # the first byte of this head has arrived
        self._buffered = 0  # bytes fed to the parser since it last produced body data or the end of a message
        self._deadline: TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head:
            self._started = True
            self._arm()
        self._buffered += len(data)
        super().data_received(data)
        if self._buffered > MAX_HEAD and not self._refused and not self.transport.is_closing():
            self._refuse(431, "headers_too_large", f"the headers have more than {MAX_HEAD:,} bytes; shorten them")

    def on_message_begin(self) -> None:
        self._in_head = self._started = True
        self._arm()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._disarm()
        if self._refused:
            return
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD:
            self._refuse(431, "headers_too_large", f"the headers have more than {MAX_HEAD:,} bytes; shorten them")
            return
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self._buffered = 0
        if self._refused:
            return
        super().on_body(body)
        if self.cycle is not None and len(self.cycle.body) > 2 * MAX_BODY:  # pipelined behind a response in progress: nobody reads it yet
            self.transport.abort()

    def on_message_complete(self) -> None:
        self._buffered = 0
        self._in_head, self._started = True, False
        if not self._refused:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        if not self._refused:
            super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:  # uvicorn has logged it
        if not self._refused:
            self._answer(400, "invalid_request", "not a valid HTTP request")

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_time, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self._started:
            self._refuse(408, "request_timeout", f"the headers did not arrive within {self.head_time:g} seconds")
        else:  # browsers preconnect and may never use the connection
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        client = self.client[0] if self.client else "?"
        log.info("%d to %s: %s", status, client, message)
        self._answer(status, code, message)

    def _answer(self, status: int, code: str, message: str) -> None:
        """Send the error, and close after ``LINGER`` seconds: closing at once, with unread input, would reset the connection."""
        self._refused = True
        self._disarm()
        self._unset_keepalive_if_required()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
                return
        body = orjson.dumps(error_body(message, CLIENT, code=code))
        headers = HEADERS | {
            "Content-Security-Policy": NO_PAGE,
            "Cache-Control": "no-store",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        head = b"".join(f"{name}: {value}\r\n".encode("ascii") for name, value in headers.items())
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER, self.transport.close)


def server_config(app: Any, **options: Any) -> uvicorn.Config:
    """uvicorn's configuration for one of our apps, with the limits that all of them share.

    ``proxy_headers`` is off: uvicorn would take a client's address from any program of this machine that sends ``X-Forwarded-For``.
    """
    shared: dict[str, Any] = {"log_level": "warning", "http": BoundedHttp, "ws": "websockets-sansio", "ws_max_size": MAX_BODY}
    return uvicorn.Config(app, proxy_headers=False, **shared, **options)
