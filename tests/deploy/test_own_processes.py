"""Requests to our own processes ignore proxies and CA files of the environment."""

import asyncio
import http.server
import threading
from collections.abc import Iterator

import httpx
import pytest

from deploy.cli.latency import LiveFeed
from deploy.own_processes import client, is_ready, lives, why_not_ready
from simulation import calls

STATUS = b'data: {"newest": {"judgment": null}}\n\n'


class Handler(http.server.BaseHTTPRequestHandler):
    """A process that is alive but not ready, with a live feed."""

    def do_GET(self) -> None:
        body = b'{"ready": false, "reasons": {"log": "the disk is full", "model": "it is being loaded"}}'
        self.send_response(503 if self.path == "/readyz" else 200)
        self.end_headers()
        self.wfile.write(STATUS if self.path == "/v1/live" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "/nowhere/ca.pem")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    client.cache_clear()
    yield
    client.cache_clear()


def test_a_process_is_asked_directly_and_reports_why_it_is_not_ready(url: str) -> None:
    assert lives(url)
    assert not is_ready(url)
    assert why_not_ready(httpx.Client(base_url=url, trust_env=False)) == "the disk is full; it is being loaded"


def test_a_process_that_is_not_there_does_not_answer() -> None:
    assert not lives("http://127.0.0.1:1")
    assert why_not_ready(httpx.Client(base_url="http://127.0.0.1:1", trust_env=False)) == "it does not answer yet"


def test_the_live_feed_is_followed_directly(url: str) -> None:
    with LiveFeed(url) as feed:
        deadline = threading.Event()
        for _ in range(1000):
            if feed.latest:
                break
            deadline.wait(0.01)
    assert feed.latest == {"newest": {"judgment": None}}


def test_simulated_people_speak_to_the_servers_directly(url: str) -> None:
    async def asked() -> int:
        async with calls.client() as http:
            return (await http.get(f"{url}/healthz")).status_code

    assert asyncio.run(asked()) == 200
