"""Chat and feedback while Kafka is down: requests do not wait for it, and get 503 with Retry-After once the outbox is full."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx
import pytest

from serving.app import create_app
from storage.settings import Settings
from streams.bus import kafka, outbox
from streams.bus.sqlite import SQLiteBus
from tests.serving.conftest import StartApp
from tests.serving.openai.stand_in import StandIn

pytestmark = pytest.mark.processes

NOWHERE = "kafka://127.0.0.1:9"
PROMPT = [{"role": "user", "content": "when is the interview ?"}]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.read(tmp_path, environ={}).with_values({"home": tmp_path, "bus": NOWHERE}, kafka={"outbox_mb": 1})


@pytest.fixture
def url(start_app: StartApp, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(outbox, "TIMEOUT", 1.0)  # seconds: its thread ends with the test
    monkeypatch.setattr(outbox, "DRAIN_TIMEOUT", 0.1)
    monkeypatch.setattr(kafka, "BOOTSTRAP_TIMEOUT", 500)  # milliseconds
    upstream = StandIn()
    with start_app(upstream.app()) as behind:
        section = {"url": f"{behind}/v1/", "model": "great-1"}
        with start_app(create_app(settings.with_values(upstream=section))) as running:
            yield running


def chat(url: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json={"model": "champion", "messages": PROMPT}, timeout=20)


def thumb(url: str, reason: str) -> httpx.Response:
    body = {"type": "thumb", "conversation_id": "c-1", "recruiter": "Ada", "thumb": "up", "reason": reason}
    return httpx.post(f"{url}/v1/feedback", json=body, timeout=20)


def test_chat_does_not_wait_for_kafka_and_feedback_is_accepted_until_the_outbox_is_full(url: str, settings: Settings) -> None:
    began = monotonic()
    answers = [chat(url) for _ in range(5)]
    assert monotonic() - began < 5
    assert {answer.status_code for answer in answers} == {200}
    taken = 0
    while (answer := thumb(url, "x" * 60_000)).status_code == 200:
        taken += 1
        assert taken < 20
    assert taken >= 8  # of 80 kB each when sealed
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "30"
    assert "outbox_mb" in answer.json()["error"]["message"]
    assert chat(url).status_code == 200, "a reply is small and still fits"
    with SQLiteBus(settings.common.home / "outbox-serving.sqlite") as kept:
        ends = {partition.topic: following for partition, (_, following) in kept.bounds(["chat.replies", "feedback.ratings"]).items()}
    assert ends == {"chat.replies": 6, "feedback.ratings": taken}
