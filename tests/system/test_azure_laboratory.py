"""A small laboratory's whole loop before Azure OpenAI, set up by ``.env`` alone.

Several responses to a question, the best one chosen with a reason, all of them reranked by a reward model, and the judgments downloaded.
"""

import json
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedbackloop import Client
from storage.settings import Settings
from storage.texts.texts import Texts
from streams.bus.open import open_bus
from streams.processor import start_consumers
from streams.stations.runner import Runner
from tests.dashboard.small_world import running_hub, wait_until
from tests.serving.conftest import run_serving
from tests.serving.openai.stand_in import KEY, StandIn, running
from tests.serving.test_rerank import Trained, trained
from trainers.features.embedder import Embedder
from trainers.features.settings import FeatureSettings

__all__ = ["trained"]

pytestmark = pytest.mark.training

QUESTION = [{"role": "user", "content": "When is my interview?"}]


def test_responses_from_azure_are_labelled_reranked_and_downloaded(tmp_path: Path, trained: Trained) -> None:
    model = trained.with_checks(tmp_path / "reward", "passed")
    with running(StandIn()) as azure:
        (tmp_path / ".env").write_text(
            "FEEDBACKLOOP_UPSTREAM__KIND=azure\n"
            f"FEEDBACKLOOP_UPSTREAM__URL={azure.url}\n"
            f"FEEDBACKLOOP_UPSTREAM__KEY={KEY}\n"
            "FEEDBACKLOOP_UPSTREAM__MODEL=laboratory\n"
            "FEEDBACKLOOP_UPSTREAM__API_VERSION=2026-10-21\n"
            f"FEEDBACKLOOP_SERVING__REWARD_MODEL={model}\n"
        )
        common = {"home": tmp_path / "home"}
        settings = Settings.read(tmp_path, environ={}).with_values(common, features=trained.settings.sections["features"])
        stop = threading.Event()
        with run_serving(settings) as serving, running_hub(tmp_path / "home") as hub, closing(open_bus(settings.common.bus_url)) as bus:
            runner = Runner(stop)
            start_consumers(runner, bus, settings, Embedder.load(settings.section("features", FeatureSettings)), Texts.of(settings), stop)
            try:
                _work(serving.url, hub.url)
            finally:
                stop.set()
                runner.join(30)
        assert azure.paths == ["/openai/deployments/laboratory/chat/completions?api-version=2026-10-21"]
        assert [headers["api-key"] for headers in azure.headers] == [KEY]


def _work(serving: str, hub: str) -> None:
    answer = httpx.post(f"{serving}/v1/chat/completions", json={"model": "champion", "messages": QUESTION, "n": 3}).json()
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert (answer["model"], texts) == ("laboratory", ["On Monday.", "On Monday. 1", "On Monday. 2"])
    with Client(serving, hub) as client:
        client.judge(answer["feedbackloop"]["pair_id"], recruiter="Noor", choice="B", strength=3, reason="It says more.")
        ranked = _ranked(serving, texts)
        assert sorted(each["index"] for each in ranked) == [0, 1, 2]
        assert ranked == sorted(ranked, key=lambda each: -each["relevance_score"])
        [record] = wait_until(lambda: list(client.export()), bool, 30)
    assert record["prompt"] == QUESTION
    assert (record["chosen"][0]["content"], record["rejected"][0]["content"]) == (texts[1], texts[0])
    assert (record["strength"], record["reason"], record["source"]) == (3, "It says more.", "product")


def _ranked(serving: str, texts: list[str]) -> list[dict[str, Any]]:
    body = {"model": "reward", "query": QUESTION[0]["content"], "documents": texts}
    found = wait_until(lambda: httpx.post(f"{serving}/v1/rerank", json=body, timeout=20), lambda answer: answer.status_code == 200, 30)
    results: list[dict[str, Any]] = json.loads(found.content)["results"]
    return results
