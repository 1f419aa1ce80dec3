"""What the guard accepts and refuses, over real sockets, before an app that answers everything."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from storage.errors import ArtifactError, FeedbackLoopError, Overloaded
from streams.health import HealthServer, listen
from streams.http.errors import KINDS, Kind, answer_errors
from streams.http.request_guard import MAX_BODY, NO_PAGE, RequestGuard
from streams.http.server import BoundedHttp, server_config

GUARD = "streams.http.request_guard"
JSON = {"Content-Type": "application/json"}


@dataclass
class Running:
    port: int
    bodies: list[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def raw(self, *pieces: bytes) -> bytes:
        """Send the bytes; return everything received until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as line:
            for piece in pieces:
                line.sendall(piece)
            return received(line)

    def asked(self, method: str = "GET", path: str = "/", body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and error (or body) of one request with exactly these headers, plus Content-Length."""
        lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in ({"Host": f"127.0.0.1:{self.port}"} | headers).items() if value]
        lines += [f"Content-Length: {len(body)}"] if body else []
        answer = self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return parsed(answer)


def received(line: socket.socket) -> bytes:
    parts = []
    while part := line.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def parsed(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    found = orjson.loads(body)
    return int(head.split()[1]), found.get("error", found) if isinstance(found, dict) else found


def answer_to(app: Running, *pieces: bytes) -> tuple[int, dict[str, Any]]:
    """The response to bytes that the server may stop reading."""
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as line:
        with suppress(ConnectionError):
            for piece in pieces:
                line.sendall(piece)
        return parsed(received(line))


def small_app(bodies: list[bytes], body_time: float = 30.0) -> FastAPI:
    app = FastAPI()

    @app.api_route("/", methods=["GET", "POST", "PUT", "PATCH"])
    @app.api_route("/v1/things", methods=["GET", "POST"])
    async def take(request: Request) -> dict[str, int]:
        bodies.append(await request.body())
        return {"taken": len(bodies[-1])}

    @app.get("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse("<p>a page</p>")

    @app.get("/fails/{how}")
    async def fails(how: str) -> None:
        errors: dict[str, Exception] = {
            "busy": Overloaded("the log /srv/home of ours/bus.sqlite takes nothing", 7),
            "artifact": ArtifactError("no artifact at '/srv/home of ours/artifacts/ab12'"),
            "ours": FeedbackLoopError("at /srv/secret"),
            "bug": ZeroDivisionError("at /srv/secret"),
        }
        raise errors[how]

    @app.websocket("/push")
    async def push(line: WebSocket) -> None:
        await line.accept()
        await line.send_text("pushed")
        await line.close()

    @app.get("/patient")
    async def patient(request: Request) -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)

    @app.websocket("/echo")
    async def echo(line: WebSocket) -> None:
        await line.accept()
        with suppress(WebSocketDisconnect):
            while True:
                await line.send_text(str(len(await line.receive_text())))

    answer_errors(app, {**KINDS, ArtifactError: Kind(404, "not_found", own_files=True)})
    app.add_middleware(RequestGuard, allowed_hosts=["loop.example"], page_policy="default-src 'self'", body_time=body_time)
    return app


class HastyHttp(BoundedHttp):
    head_time = 0.3


@contextmanager
def running(body_time: float = 30.0, protocol: type[BoundedHttp] = BoundedHttp) -> Iterator[Running]:
    bodies: list[bytes] = []
    address = listen("127.0.0.1", 0)
    config = server_config(small_app(bodies, body_time))
    config.http = protocol
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address]}, daemon=True)
    thread.start()
    try:
        yield Running(address.getsockname()[1], bodies)
    finally:
        server.should_exit = server.force_exit = True  # some of these connections are left open on purpose
        thread.join(10)
        address.close()


@pytest.fixture(scope="module")
def app() -> Iterator[Running]:
    with running() as it:
        yield it


@pytest.fixture(scope="module")
def hasty() -> Iterator[Running]:
    """The same app with a timeout of 0.3 s for headers and bodies."""
    with running(0.3, HastyHttp) as it:
        yield it


@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        ("localhost", 200, None),
        ("LOCALHOST:1", 200, None),
        ("127.0.0.1", 200, None),
        ("127.3.2.1:8050", 200, None),
        ("[::1]:8050", 200, None),
        ("loop.example", 200, None),
        ("Loop.Example:443", 200, None),
        ("evil.example", 403, "host_not_allowed"),
        ("evil.loop.example", 403, "host_not_allowed"),
        ("localhost.evil.example:8050", 403, "host_not_allowed"),
        ("128.0.0.1", 403, "host_not_allowed"),
        ("0.0.0.0", 403, "host_not_allowed"),
        ("[::2]", 403, "host_not_allowed"),
        ("127.0.0.1@evil.example", 400, "invalid_host"),
        ("127.0.0.1:x", 400, "invalid_host"),
        ("127.0.0.1\r\nHost: 127.0.0.1", 400, "invalid_host"),
        ("", 400, "invalid_host"),
    ],
)
def test_only_allowed_hosts_are_accepted(app: Running, host: str, status: int, code: str | None) -> None:
    found = app.asked(Host=host)
    assert (found[0], found[1].get("code")) == (status, code)


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:8050", "127.0.0.1:8050", 200),
        ("https://loop.example", "loop.example", 200),
        ("https://loop.example:443", "loop.example", 200),
        ("http://loop.example", "loop.example:80", 200),
        ("http://127.0.0.1:3000", "127.0.0.1:8050", 403),
        ("http://localhost:8050", "127.0.0.1:8050", 403),
        ("http://evil.example", "127.0.0.1:8050", 403),
        ("https://loop.example:8443", "loop.example", 403),
        ("http://127.0.0.1:8050.evil.example", "127.0.0.1:8050", 403),
        ("http://127.0.0.1:8050@evil.example", "127.0.0.1:8050", 403),
        ("http://127.0.0.1:8050/", "127.0.0.1:8050", 403),
        ("chrome-extension://127.0.0.1", "127.0.0.1", 403),
        ("null", "127.0.0.1:8050", 403),
        ("file://", "127.0.0.1:8050", 403),
        ("http://127.0.0.1:99999", "127.0.0.1:99999", 403),
        ("http://127.0.0.1:8050\r\nOrigin: http://127.0.0.1:8050", "127.0.0.1:8050", 403),
    ],
)
def test_only_same_origin_requests_are_accepted(app: Running, origin: str, host: str, status: int) -> None:
    found = app.asked("POST", body=b"{}", Host=host, Origin=origin, **{"Content-Type": "application/json"})
    assert (found[0], found[1].get("code")) == (status, None if status == 200 else "origin_not_allowed")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_from_another_site_only_a_link_to_a_page_is_followed(app: Running, site: str) -> None:
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert app.asked(body=b"", **link)[0] == 200
    assert app.asked(path="/v1/things", body=b"", **link)[0] == 403
    assert app.asked("POST", body=b"{}", **link, **JSON)[0] == 403
    assert app.asked(body=b"", **link | {"Sec-Fetch-Dest": "iframe"})[0] == 403
    assert app.asked(body=b"", **link | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"})[1]["code"] == "cross_site"
    assert app.asked(path="/v1/things", body=b"", **link | {"Sec-Fetch-Site": "same-origin"})[0] == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", ""])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_body_without_a_json_content_type_is_refused(app: Running, method: str, kind: str) -> None:
    before = len(app.bodies)
    assert app.asked(method, body=b"{}", **{"Content-Type": kind})[1]["code"] == "unsupported_media_type"
    assert len(app.bodies) == before
    assert app.asked(method, body=b"{}", **{"Content-Type": "application/problem+JSON; charset=utf-8"})[0] == 200


def test_a_body_beyond_the_limit_is_refused_and_the_client_gets_the_response(app: Running) -> None:
    before = len(app.bodies)
    for size, status in ((MAX_BODY, 200), (MAX_BODY + 1, 413), (40 * MAX_BODY, 413)):
        assert app.asked("POST", body=b" " * size, **JSON)[0] == status
        chunked = httpx.post(app.url, content=(b" " * (size // 4) for _ in range(4)), headers=JSON)
        assert chunked.status_code == (200 if size == MAX_BODY + 1 else status)  # four chunks of a quarter, rounded down: one byte less
    assert [len(body) for body in app.bodies[before:]] == [MAX_BODY] * 3


def test_a_client_that_expects_100_continue_is_refused_before_it_sends_the_body(app: Running) -> None:
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {9 * MAX_BODY}\r\n"
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as line:
        line.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert line.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_the_body_of_a_get_is_limited_too(app: Running) -> None:
    assert app.asked("GET", body=b" " * (MAX_BODY + 1), **JSON)[0] == 413


def test_a_body_that_does_not_arrive_in_time_is_refused(hasty: Running) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for rest in (b"Content-Length: 10\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        status, error = parsed(hasty.raw(head + rest))
        assert (status, error["code"]) == (408, "request_timeout")


def test_a_head_that_does_not_arrive_in_time_is_refused(hasty: Running) -> None:
    assert parsed(hasty.raw(b"GET / HTTP/1.1\r\nHost: local"))[0] == 408
    assert hasty.raw() == b"", "an unused connection is closed without a response"
    whole = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert b"HTTP/1.1 408 " in hasty.raw(whole, b"GET / HT"), "the second head on a connection that was kept alive"


def test_a_head_that_is_sent_byte_by_byte_gets_no_more_time(hasty: Running) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as line:
        began = time.monotonic()
        line.settimeout(0.02)
        answer = b""
        for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 2000:
            try:
                line.sendall(bytes([byte]))
                if answer := line.recv(65_536):
                    break
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "head",
    [
        [b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000, b"x" * 40_000, b"\r\n\r\n"],
        [b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 14_000 + b"\r\n"],
        [b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", *[b"x" * 65_536] * 100],
        [b"GET /?" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        [b"GET /", *[b"x" * 65_536] * 20],
        [b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"],
    ],
    ids=["two pieces", "many headers", "one endless header", "a long address", "an endless address", "a handshake"],
)
def test_a_head_beyond_the_limit_is_refused_also_while_it_is_incomplete(app: Running, head: list[bytes]) -> None:
    status, error = answer_to(app, *head)
    assert (status, error["code"]) == (431, "headers_too_large")


def test_trailers_without_end_are_refused(app: Running) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: "
    assert answer_to(app, head, *[b"x" * 65_536] * 100)[0] == 431


def test_a_head_just_below_the_limit_is_accepted(app: Running) -> None:
    assert app.asked(X="x" * 60_000)[0] == 200


@pytest.mark.parametrize(
    "lengths",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 5\r\nContent-Length: 4",
        "Transfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Content-Length: +5",
    ],
)
def test_a_message_whose_length_is_ambiguous_is_refused_with_all_that_follows(app: Running, lengths: str) -> None:
    first = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{lengths}\r\n\r\n0\r\n\r\n"
    taken = len(app.bodies)
    answer = app.raw((first + "GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").encode())
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert len(app.bodies) == taken


def test_a_request_is_never_echoed(app: Running) -> None:
    status, error = app.asked("TRACE", Cookie="secret")
    assert status == 405
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "ahead",
    [
        [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40],
        [b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99000000\r\n\r\n", *[b"x" * 65_536] * 1000],
    ],
    ids=["many requests", "a body without bound"],
)
def test_pipelined_input_during_a_response_is_limited(app: Running, ahead: list[bytes]) -> None:
    before = len(app.bodies)
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as line, suppress(ConnectionError):
        for piece in (b"GET /patient HTTP/1.1\r\nHost: localhost\r\n\r\n", *ahead):
            line.sendall(piece)
        assert received(line) == b"", "the connection is closed; a time-out would fail the test"
    assert len(app.bodies) == before


def test_a_client_that_disconnects_during_its_body_causes_no_traceback(app: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", app.port), timeout=10) as line:
            line.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
    assert app.asked()[0] == 200
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 101), ({"Host": "evil.example"}, 403), ({"Origin": "http://evil.example"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403)],
)
def test_a_websocket_is_opened_only_by_our_own_pages_and_a_refusal_is_logged_once(
    app: Running, caplog: pytest.LogCaptureFixture, headers: dict[str, str], status: int
) -> None:
    caplog.set_level(logging.INFO, GUARD)
    own = {
        "Host": f"127.0.0.1:{app.port}",
        "Origin": f"http://127.0.0.1:{app.port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        "Sec-WebSocket-Version": "13",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in (own | headers).items())
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as line:
        line.sendall(f"GET /push HTTP/1.1\r\n{lines}\r\n".encode())
        answer = b""
        while b"pushed" not in answer and (part := line.recv(65_536)):
            answer += part
    assert int(answer.split()[1]) == status
    assert (b"pushed" in answer) == (status == 101)
    assert app.asked()[0] == 200, "the server's thread has logged what it logs of the handshake"
    assert [(record.name, record.levelno) for record in caplog.records] == [(GUARD, logging.INFO)] * (status != 101)


def test_a_message_beyond_the_limit_closes_the_websocket_and_is_logged_once(app: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, GUARD)
    with connect(f"ws://127.0.0.1:{app.port}/echo", max_size=None) as line:
        line.send("x" * MAX_BODY)
        assert line.recv() == str(MAX_BODY)
        with suppress(ConnectionClosedError):
            line.send("x" * (MAX_BODY + 1))
        with pytest.raises(ConnectionClosedError) as closed:
            line.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    deadline = time.monotonic() + 10
    while not caplog.records:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_every_response_has_headers_against_framing_and_cross_origin_reads(app: Running) -> None:
    for path, status in (("/", 200), ("/page", 200), ("/nothing", 404), ("/fails/bug", 500), ("/v1/things", 200)):
        answer = httpx.get(app.url + path)
        assert answer.status_code == status
        found = {name: answer.headers[name] for name in ("x-content-type-options", "x-frame-options", "cache-control")}
        assert found == {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "cache-control": "no-store"}
        assert answer.headers["cross-origin-resource-policy"] == answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "same-origin"
        policy = "default-src 'self'" if path == "/page" else NO_PAGE
        assert answer.headers["content-security-policy"] == policy


@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        ("/fails/busy", 503, "overloaded", "the log bus.sqlite takes nothing"),
        ("/fails/artifact", 404, "not_found", "no artifact at 'ab12'"),
        ("/fails/ours", 500, None, "internal error; see the server's log"),
        ("/fails/bug", 500, None, "internal error; see the server's log"),
        ("/nothing%0a%1b[31m", 404, "not_found", r"GET /nothing\x0a\x1b[31m: Not Found"),
    ],
)
def test_errors_have_one_format_without_paths_and_are_logged_once(
    app: Running, caplog: pytest.LogCaptureFixture, path: str, status: int, code: str | None, message: str
) -> None:
    caplog.set_level(logging.INFO, GUARD)
    answer = httpx.get(app.url + path)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert error == {"message": error["message"], "type": error["type"], "param": None, "code": code}
    assert error["message"].endswith(message) if status != 503 else error["message"].startswith("the log")
    assert "/srv" not in answer.text
    assert len(caplog.records) == 1
    assert (caplog.records[0].exc_info is not None) == (status == 500)
    assert "\n" not in caplog.records[0].getMessage()


def test_client_input_is_truncated_and_escaped_in_the_log(app: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, GUARD)
    app.asked(path="/%0d%0aINFO%20forged%e2%80%ae" + "x" * 5000, Origin="http://evil.example" + "y" * 5000)
    (line,) = [record.getMessage() for record in caplog.records]
    assert r"\x0d\x0aINFO forged\u202e" in line
    assert len(line) < 1000
    assert line.isprintable()


def test_the_health_servers_of_processor_and_trainer_are_guarded_too() -> None:
    server = HealthServer({"bus": lambda: "no log at /srv/home/bus.sqlite"}, "127.0.0.1", 0, ("loop.example",))
    server.start()
    try:
        small = Running(server.port, [])
        assert small.asked(path="/metrics", Host="evil.example")[0] == 403
        assert small.asked(path="/healthz", Host="loop.example")[0] == 200
        assert small.asked(path="/nothing")[1]["code"] == "not_found"
        assert small.asked(path="/readyz")[1]["reasons"] == {"bus": "no log at bus.sqlite"}
    finally:
        server.stop()
