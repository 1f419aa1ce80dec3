"""Training from Python, as the public package offers it."""

import json
from pathlib import Path

import pytest

from feedbackloop import DPOConfig, DPOTrainer, RewardModel, RLHFConfig, RLHFTrainer
from storage.errors import ArtifactError, ConfigurationError, DataRefused, InputRefused
from storage.settings import Common, Settings

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "records.jsonl"
    records = [
        {"prompt": f"Any news? I wrote {i} times.", "chosen": f"Hello, by Friday {i}.", "rejected": f"Hello, see the portal {i}."}
        for i in range(60)
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def test_a_reward_model_learns_can_be_saved_and_ranks_the_preferred_reply_higher(data: Path, tmp_path: Path) -> None:
    model = RewardModel.fit(data)
    better, worse = model.score("Any news?", ["Hello, by Friday 3.", "Hello, see the portal 3."])
    assert better > worse
    said = model.compare("Any news?", "Hello, by Friday 3.", "Hello, see the portal 3.")
    assert said.a[0] > 0.5 > said.b[0]
    assert said.a[0] + said.tie[0] + said.b[0] == pytest.approx(1)
    model.save(tmp_path / "reward")
    again = RewardModel.load(tmp_path / "reward")
    replies = ["Hello, by Friday 3.", "Hello, see the portal 3.", "Goodbye."]
    assert again.score("Any news?", replies) == pytest.approx(model.score("Any news?", replies), abs=1e-6)  # batches of texts round
    assert [each.index for each in model.rerank("Any news?", replies, top_n=1)] == [0]
    with pytest.raises(InputRefused, match=r"documents\.1: is empty"):
        model.rerank("Any news?", ["Hello.", " "])
    other = Settings(Common(), {"features": {"prompt_tokens": 32}})
    with pytest.raises(ConfigurationError, match=r"use the \[features\] settings of its training"):
        RewardModel.load(tmp_path / "reward", other)
    with pytest.raises(ArtifactError, match=r"a folder with one of head\.safetensors, reward\.json, mixture\.json, ensemble\.json"):
        RewardModel.load(tmp_path)
    with pytest.raises(DataRefused, match="no preference of the training stratum"):
        RewardModel.fit([])


def test_dpo_and_the_full_pipeline_run_from_python(data: Path, tiny_model: Path, tiny_encoder: dict[str, Path], tmp_path: Path) -> None:
    trained = DPOTrainer(DPOConfig(epochs=1, least_rows=8)).train(data, tmp_path / "dpo", str(tiny_model))
    assert (trained.adapter / "adapter_model.safetensors").is_file()
    sections = {
        "features": tiny_encoder,
        "dpo": {"epochs": 1, "least_rows": 8},
        "evaluation": {"max_tokens": 8, "names": 2, "kl_prompts": 4, "audit_pairs": 4, "audit_pairs_max": 4},
    }
    report = RLHFTrainer(RLHFConfig(model=str(tiny_model), sections=sections)).train(data, tmp_path / "whole")
    assert report.base == str(tiny_model)
    assert (tmp_path / "whole" / "report.json").is_file()
    with pytest.raises(ConfigurationError, match="there is no training method 'ppoo'; choose one of dpo"):
        RLHFTrainer(RLHFConfig(model=str(tiny_model), method="ppoo")).train(data, tmp_path / "none")
