"""Serving as a process that can be killed, and a proxy before it that fails as it is told."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from storage.events import Event
from storage.events.wire import decode
from storage.settings import Common, Settings
from storage.texts.texts import Texts
from streams.bus.open import open_bus

PROGRAM = "from serving.app import run; from storage.settings import Settings; run(Settings.read())"
DEADLINE = 60.0
FEEDBACK = ("feedback.pairs", "feedback.judgments", "feedback.ratings", "candidates.outcomes")


@dataclass
class ServingProcess:
    """One installation, whose process starts and dies; its address stays."""

    home: Path
    upstream: str
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if self._process is not None:
            return
        self.home.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "FEEDBACKLOOP_HOME": str(self.home),
            "FEEDBACKLOOP_SERVING__PORT": str(self.port),
            "FEEDBACKLOOP_SERVING__PAIRING_SHARE": "1.0",
            "FEEDBACKLOOP_UPSTREAM__URL": f"{self.upstream}/v1",
            "FEEDBACKLOOP_UPSTREAM__MODEL": "m",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=self.home, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE
        while not self._ready():
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def events(self) -> list[Event]:
        """All feedback on the log, each topic in its order."""
        bus = open_bus(f"sqlite:///{self.home / 'bus.sqlite'}")
        try:
            texts = Texts.of(Settings(Common(home=self.home)))
            return [texts.event(decode(entry.value)) for entry in bus.read(dict.fromkeys(bus.bounds(FEEDBACK), -1), limit=100_000, wait=0)]
        finally:
            bus.close()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@dataclass
class Proxy:
    """Forwards to ``upstream``, but for the next requests, which go as ``plan`` says.

    A number answers with that status, "503 later" asks to wait for an hour, "lost" forwards the request and breaks the connection before
    the answer, and "silent" breaks it at once.
    """

    upstream: str
    plan: list[int | str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)  # idempotency keys of all requests
    url: str = ""


@contextmanager
def proxy_before(upstream: str) -> Iterator[Proxy]:
    proxy = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            proxy.keys.append(self.headers.get("Idempotency-Key"))
            planned = proxy.plan.pop(0) if proxy.plan else "forward"
            if planned == "silent":
                self.close_connection = True
            elif isinstance(planned, int) or planned == "503 later":
                self._answer(503 if isinstance(planned, str) else planned, b"{}", "3600" if isinstance(planned, str) else "0")
            else:
                passed = {name: self.headers[name] for name in ("Content-Type", "Idempotency-Key") if name in self.headers}
                answer = httpx.request(self.command, proxy.upstream + self.path, content=body, headers=passed, timeout=30)
                if planned == "lost":
                    self.close_connection = True
                else:
                    self._answer(answer.status_code, answer.content)

        do_GET = do_POST

        def _answer(self, status: int, body: bytes, retry_after: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
