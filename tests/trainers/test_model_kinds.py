"""Other people's models: each kind is trained by SFT, DPO and PPO on dialogues that its template would refuse, and is evaluated."""

import json
from pathlib import Path
from typing import Any

import pytest

from storage.settings import Settings
from tests.trainers.model_kinds import KINDS, WINDOW, write_model
from trainers.api import evaluate_policy, train_policy
from trainers.models.policy import Policy, load_policy
from trainers.policy import fine_tuning

pytestmark = pytest.mark.training

FAST = {"epochs": 1, "batch": 16, "least_rows": 8}


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder named after its kind."""
    return write_model(KINDS[request.param], tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Comparisons with system messages, turns that do not alternate and, in every fourth, a prompt that is longer than the window."""
    path = tmp_path_factory.mktemp("data") / "records.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(48):
            earlier = [{"role": "user", "content": f"Hello, {i}?"}, {"role": "user", "content": "Anybody?"}]
            if i % 4 == 0:
                earlier.append({"role": "assistant", "content": "A moment, please. " * 20})
            prompt = [{"role": "system", "content": "Stage: offer"}, *earlier, {"role": "user", "content": f"Any news? I wrote {i} times."}]
            file.write(json.dumps({"prompt": prompt, "chosen": f"By Friday {i}.", "rejected": f"See the portal {i}."}) + "\n")
    return path


@pytest.fixture
def settings(tiny_encoder: dict[str, Path], tmp_path: Path) -> Settings:
    return Settings.read(tmp_path, {}).with_values(
        features=tiny_encoder,
        sft=FAST | {"chosen": True},
        dpo=FAST,
        ppo={
            "rewards": {"length": 1.0}, "steps": 2, "batch": 8, "minibatch": 8, "max_tokens": 12, "least_prompts": 8, "critic_warmup": 0,
            "governor_every": 0,
        },
        evaluation={"prompts": 12, "max_tokens": 12, "names": 2, "kl_prompts": 4, "audit_pairs": 4, "audit_pairs_max": 4},
    )  # fmt: skip


@pytest.mark.parametrize("method", ["sft", "dpo", "ppo"])
def test_it_trains_on_rows_that_end_with_one_end_token_and_is_evaluated(
    method: str, model: Path, data: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[Policy, list[dict[str, Any]]]] = []

    def watched(base: str, rows: Any, tokenized: Any, *args: Any, **options: Any) -> Any:
        policy = load_policy(base)
        found.append((policy, [tokenized(row, policy) for row in rows]))
        return fine_tuning.fine_tune(base, rows, tokenized, *args, **options)

    for module in ("sft", "dpo"):
        monkeypatch.setattr(f"trainers.policy.{module}.fine_tune", watched)
    said: list[dict[str, float]] = []
    trained = train_policy(settings, data, str(model), tmp_path, lambda *now: said.append(now[3]), method=method)
    assert (trained.steps, trained.too_long) == (2 if method == "ppo" else len(said), 0)
    assert (trained.adapter / "adapter_model.safetensors").is_file()
    for policy, rows in found:
        end = policy.tokenizer.convert_tokens_to_ids(KINDS[model.name].end)
        for row in rows:
            whole = row["input_ids"] if method == "sft" else [*row["prompt_ids"], *row["chosen_ids"]]
            reply = [i for i in row["labels"] if i >= 0] if method == "sft" else row["chosen_ids"]
            assert len(whole) <= WINDOW
            assert reply[-1] == end
            assert reply.count(end) == 1
            text = policy.tokenizer.decode(whole)
            assert "Stage: offer" in text
            assert "Any news? I wrote" in text
    if method == "dpo":
        report = evaluate_policy(settings, data, str(trained.adapter), str(model), tmp_path)
        assert report.data.prompts > 8
        assert report.findings["kl_budget"]["base"]["per_reply"]["figure"] != 0
