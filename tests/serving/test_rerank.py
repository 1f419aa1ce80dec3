"""``POST /v1/rerank``: its shape, what it refuses, and that a reward model which did not pass its checks ranks nothing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.reranking import Reranker
from storage.errors import ConfigurationError
from storage.events import GateResult
from storage.settings import Common, Settings
from tests.serving.conftest import Server, Start, WaitUntil
from trainers.reward.model import RewardModel
from trainers.reward.validation import REPORT, train_reward

pytestmark = pytest.mark.training

DOCUMENTS = ["At some time, 7.", "On Monday, 7.", "Never."]
QUERY = "When is it, number 7?"


@dataclass(frozen=True)
class Trained:
    folder: Path
    settings: Settings

    def with_checks(self, folder: Path, verdict: str | None) -> Path:
        """A copy of the model whose report says that its checks ended so; None removes the report."""
        model = RewardModel.load(self.folder, self.settings)
        model.save(folder)
        if verdict is not None:
            report = json.loads((self.folder / REPORT).read_text())
            gate = GateResult(
                name="reward_probes", verdict=verdict, figure=2.1, low=1.5, high=2.7, n=30, limit="below 1", unit="sd",
                words="The reward prefers replies that were made no better: length.",
            )  # fmt: skip
            report["checks"] = [gate.model_dump(mode="json")]
            (folder / REPORT).write_text(json.dumps(report))
        return folder


@pytest.fixture(scope="module")
def trained(tiny_encoder: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("reward")
    records = [{"prompt": f"When is it, number {n}?", "chosen": f"On Monday, {n}.", "rejected": f"At some time, {n}."} for n in range(80)]
    (folder / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    settings = Settings(Common(), {"features": tiny_encoder})
    report = train_reward(folder / "data.jsonl", settings, out=folder)
    assert [gate.name for gate in report.checks] == ["name_contrast", "reward_probes"]
    return Trained(folder / "reward", settings)


def rank(server: Server, **fields: Any) -> httpx.Response:
    body = {"model": "reward", "query": QUERY, "documents": DOCUMENTS} | fields
    return httpx.post(f"{server.url}/v1/rerank", json={key: value for key, value in body.items() if value is not None}, timeout=20)


@pytest.fixture(scope="module")
def ranking(trained: Trained, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, start: Start, wait_until: WaitUntil) -> Any:
    home = tmp_path_factory.mktemp("home")
    model = trained.with_checks(home / "reward", "passed")
    common = {"home": home, "model": str(tiny_model)}
    settings = Settings.read(home, {}).with_values(common, serving={"reward_model": model}, features=trained.settings.sections["features"])
    with start(settings) as server:
        wait_until(lambda: rank(server).status_code == 200)
        yield server


def test_documents_are_ranked_as_the_model_ranks_them(ranking: Server, trained: Trained) -> None:
    body = rank(ranking).json()
    expected = RewardModel.load(trained.folder, trained.settings).rerank(QUERY, DOCUMENTS)
    assert [each["index"] for each in body["results"]] == [each.index for each in expected]
    assert [each["relevance_score"] for each in body["results"]] == pytest.approx([each.relevance_score for each in expected], abs=1e-6)
    assert body["results"][0]["index"] == 1
    assert body["model"] == "reward"


def test_other_clients_fields_are_taken(ranking: Server) -> None:
    body = rank(ranking, documents=[{"text": text} for text in DOCUMENTS], top_n=2, return_documents=True).json()
    assert body["results"][0]["document"]["text"] == "On Monday, 7."
    assert len(body["results"]) == 2
    assert len(rank(ranking, top_n=9).json()["results"]) == 3


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "bge"}, 404, "model"),
        ({"query": None}, 400, "query"),
        ({"documents": []}, 400, "documents"),
        ({"documents": ["x", " "]}, 400, "documents.1.text"),
        ({"documents": ["x", 7]}, 400, "documents.1.text"),
        ({"top_n": 0}, 400, "top_n"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
def test_a_wrong_field_is_refused_by_name(ranking: Server, fields: dict[str, Any], status: int, param: str) -> None:
    answer = rank(ranking, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_what_ranks_is_said(ranking: Server, server: Server) -> None:
    assert httpx.get(f"{ranking.url}/v1/rerank").json() == {
        "model": "reward",
        "status": "ready",
        "kind": "head",
        "reason": None,
        "best_of": 1,
    }
    assert httpx.get(f"{server.url}/v1/rerank").json()["status"] == "off"


def test_without_a_model_it_says_how_to_get_one(server: Server) -> None:
    answer = rank(server)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "may_not_rank")
    assert "no reward model is configured: set [serving] reward_model" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("failed", "made no better: length"), ("insufficient", "made no better: length"), (None, "it has not been checked; train it again")],
)
def test_a_model_that_has_not_passed_its_checks_ranks_nothing(
    trained: Trained, tmp_path: Path, wait_until: WaitUntil, verdict: str | None, words: str
) -> None:
    reranker = Reranker(trained.with_checks(tmp_path / "reward", verdict), trained.settings)
    reranker.start()
    wait_until(lambda: reranker._refusal is not None)
    assert words in str(reranker._refusal)


def test_a_damaged_model_and_a_missing_folder_are_named(trained: Trained, tmp_path: Path, wait_until: WaitUntil) -> None:
    folder = trained.with_checks(tmp_path / "reward", "passed")
    (folder / "head.safetensors").write_bytes(b"nothing")
    reranker = Reranker(folder, trained.settings)
    reranker.start()
    wait_until(lambda: reranker._refusal is not None)
    assert "no reward head to be read there" in str(reranker._refusal)
    with pytest.raises(ConfigurationError, match=r"\[serving\] reward_model: .*there is no such folder"):
        Reranker(tmp_path / "nothing", trained.settings)
