"""The hub during a Kafka outage: pages from the warehouse with a warning, judgments kept on disk up to the limit, then 503."""

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from dashboard.hub import Hub, Server
from dashboard.pages.overview import lead
from dashboard.status.models import Status
from storage.settings import Settings
from storage.warehouse.warehouse import Warehouse
from streams.bus import kafka, outbox
from streams.health import listen
from tests.dashboard.small_world import wait_until
from tests.storage.facts import Log, apply, judgment, pair

pytestmark = pytest.mark.processes

NOWHERE = "kafka://127.0.0.1:9"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client of a hub without a broker, whose warehouse holds two pairs and a waiting judgment."""
    monkeypatch.setattr(outbox, "TIMEOUT", 1.0)  # seconds: its thread ends with the test
    monkeypatch.setattr(outbox, "DRAIN_TIMEOUT", 0.1)
    monkeypatch.setattr(kafka, "BOOTSTRAP_TIMEOUT", 500)  # milliseconds
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        apply(warehouse, Log(), pair(1), pair(2), judgment(1))
    settings = Settings.read(tmp_path, environ={}).with_values({"home": tmp_path, "bus": NOWHERE}, kafka={"outbox_mb": 1})
    address = listen("127.0.0.1", 0)
    with Hub(settings) as hub, httpx.Client(base_url=f"http://127.0.0.1:{address.getsockname()[1]}", timeout=20) as opened:
        server = Server(hub)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [address]}, daemon=True)
        thread.start()
        hub.streams.start()
        wait_until(lambda: server.started, bool, 20)
        yield opened
        assert hub.failure is None
        server.should_exit = True
        thread.join(10)


def judge(client: httpx.Client, **more: Any) -> httpx.Response:
    return client.post("/v1/judgments", json={"pair_id": str(pair(1).pair_id), "recruiter": "Ada", "choice": "A"} | more)


def test_pages_answer_from_the_warehouse_and_report_that_the_log_is_unreachable(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    ready = wait_until(lambda: client.get("/readyz"), lambda answer: "Kafka" in answer.text, 20)
    assert ready.status_code == 503
    assert "Kafka does not answer" in ready.json()["reasons"]["numbering"]
    status = Status.model_validate(wait_until(lambda: client.get("/v1/status").json(), lambda found: found["health"]["problems"], 20))
    assert (status.counts.pairs, status.counts.judgments, status.waiting.pairs_without_features) == (2, 1, 2)
    assert any("The log is unreachable" in problem for problem in status.health.problems)
    assert "The log is unreachable" in str(lead(status))
    for page in ("/", "/rate", "/runs", "/promotions"):
        began = monotonic()
        assert client.get(page).status_code == 200
        assert monotonic() - began < 5


def test_judgments_are_accepted_up_to_the_limit_then_refused_with_retry_after(client: httpx.Client) -> None:
    for _ in range(3):
        assert judge(client).status_code == 202
    taken = 0
    while (answer := judge(client, reason="x" * 60_000)).status_code == 202:
        taken += 1
        assert taken < 20
    assert taken >= 8  # of 80 kB each when sealed
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "30"
    assert "outbox_mb" in answer.json()["error"]["message"]
    assert client.get("/v1/status").json()["counts"]["pairs"] == 2
