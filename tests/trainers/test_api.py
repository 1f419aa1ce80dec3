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


def records(n: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {"prompt": f"Any news? I wrote {i} times.", "chosen": f"Hello, by Friday {i}.", "rejected": f"Hello, see the portal {i}."}
        for i in range(start, start + n)
    ]


def test_dpo_trains_from_a_file_a_list_and_a_dataset_to_the_same_adapter(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    from datasets import Dataset

    config, adapters = DPOConfig(epochs=1, least_rows=8), []
    for name, dataset in (("file", data), ("list", records(60)), ("dataset", Dataset.from_list(records(60)))):
        result = DPOTrainer(tiny_model, config=config, output_dir=tmp_path / name).train(dataset)
        adapters.append((result.adapter / "adapter_model.safetensors").read_bytes())
        assert result.metrics["loss"] > 0
    assert adapters[0] == adapters[1] == adapters[2]


def test_a_loaded_model_is_trained_with_its_tokenizer_and_evaluated(
    tiny_model: Path, tiny_encoder: dict[str, Path], tmp_path: Path
) -> None:
    from trainers.models.policy import load_policy

    sections = {
        "features": tiny_encoder,
        "dpo": {"least_rows": 8},
        "evaluation": {"max_tokens": 8, "names": 2, "kl_prompts": 4, "audit_pairs": 4, "audit_pairs_max": 4},
    }
    policy = load_policy(str(tiny_model))
    config = RLHFConfig(algorithm="dpo", learning_rate=1e-3, batch_size=8, output_dir=tmp_path, sections=sections)
    result = RLHFTrainer(policy.model, policy.tokenizer, config).train(records(40), records(20, 40), num_epochs=1)
    assert result.trained.rows == 40  # with an eval_dataset all records of the other are trained on
    assert result.report is not None
    assert result.report.data.evaluation_judgments == 20
    assert (tmp_path / "report.json").is_file()
    with pytest.raises(ConfigurationError, match="needs its tokenizer"):
        RLHFTrainer(policy.model)


def test_ppo_runs_from_python_against_a_rule(tiny_model: Path, tmp_path: Path) -> None:
    options = {"rewards": {"length": 1.0}, "minibatch": 8, "max_tokens": 8, "least_prompts": 8, "governor_every": 0}
    config = RLHFConfig(
        model_name=str(tiny_model), algorithm="ppo", batch_size=16, ppo_epochs=1, output_dir=tmp_path, sections={"ppo": options}
    )
    result = RLHFTrainer(config=config).train(records(40), num_epochs=1)
    assert result.trained.steps == 3  # 40 prompts in steps of 16
    assert (result.adapter / "adapter_model.safetensors").is_file()


def test_an_option_that_the_algorithm_does_not_have_is_refused(tmp_path: Path) -> None:
    for config, words in (
        (RLHFConfig(algorithm="dpo", ppo_epochs=2), "algorithm = 'dpo' has no ppo_epochs"),
        (RLHFConfig(algorithm="sft", reward_model_path=tmp_path), "algorithm = 'sft' has no reward_model_path"),
        (RLHFConfig(algorithm="ppo", beta=0.1), "algorithm = 'ppo' has no beta"),
        (RLHFConfig(algorithm="ppoo"), "there is no training method 'ppoo'; choose one of sft, dpo, kto, ppo"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            RLHFTrainer(config=config).train(records(40))


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ([], "the dataset is empty"),
        ([{"prompt": "Hi", "chosen": "a"}], "1 records cannot be read: record 0: rejected is missing"),
        ([7], "record 0 is a int"),
    ],
)
def test_records_that_cannot_be_read_are_named(dataset: list[object], words: str) -> None:
    with pytest.raises(DataRefused, match=words):
        DPOTrainer().train(dataset)  # type: ignore[arg-type]
