"""The page shows which version answers candidates, and warns if it is not the champion."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from access.own import own_client
from dashboard.pages import overview
from dashboard.status.models import Champion, Counts, Health, Newest, Status, Threshold, Waiting
from dashboard.status.serving_version import Ranker, ServingVersion, has_upstream
from storage.settings import Settings
from tests.dashboard.small_world import wait_until


def status(champion: str, serving: str | None) -> Status:
    return Status(
        revision=1,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        epoch=1,
        simulated=False,
        sources={},
        counts=Counts(),
        threshold=Threshold(since=0, every=200, k=0),
        waiting=Waiting(),
        champion=Champion(version=champion, since=None, policy=None, previous=None, serving=serving),
        awaiting_review=(),
        reward=None,
        newest=Newest(),
        lag={},
        health=Health(ready=True),
    )


@pytest.mark.parametrize(("serving", "warns"), [("base", True), ("v-3fa1c09d27be", False), (None, False)])
def test_the_overview_warns_where_candidates_are_answered_by_another_version(serving: str | None, warns: bool) -> None:
    text = str(overview.champion(status("v-3fa1c09d27be", serving)))
    assert ("Candidates are answered by" in text) == warns


@contextmanager
def answering(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """A server that gives these answers by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answers.get(self.path, (404, b""))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_the_serving_version_is_the_first_model_listed_by_a_ready_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.status.serving_version.POLL_INTERVAL", 0.01)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    answers = {"/readyz": (200, b"{}"), "/v1/models": (200, b'{"data": [{"id": "v-1"}, {"id": "champion"}]}')}
    changed = threading.Semaphore(0)
    with answering(answers) as url:
        version = ServingVersion(lambda: own_client(Settings.read(tmp_path, {}), "hub", "serving", url=url), changed.release)
        version.start()
        assert changed.acquire(timeout=10)
        assert version.version == "v-1"
        for unknown in ({"/readyz": (503, b"{}")}, {"/readyz": (200, b"{}"), "/v1/models": (200, b"[]")}):
            answers.update(unknown)
            assert changed.acquire(timeout=10)
            assert version.version is None
            answers.update({"/readyz": (200, b"{}"), "/v1/models": (200, b'{"data": [{"id": "v-2"}]}')})
            assert changed.acquire(timeout=10)
            assert version.version == "v-2"
        assert version.ranker is None
        answers["/v1/rerank"] = (200, b'{"model": "reward", "status": "ready", "kind": "head", "reason": null, "best_of": 4, "new": 1}')
        wait_until(lambda: version.ranker, lambda found: found == Ranker(status="ready", kind="head", best_of=4))
        version.stop()


def test_a_serving_with_an_upstream_has_no_version_to_ask_for(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, {})
    assert not has_upstream(settings)
    assert has_upstream(settings.with_values(upstream={"url": "https://models.example/v1", "model": "m"}))
    silent = ServingVersion(None, lambda: None)
    silent.start()
    assert silent.version is None
