"""SFT, KTO and the losses of DPO: real steps on a tiny model, and first losses against closed forms."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from storage.errors import DataRefused, TrainingError
from storage.events import Message
from tests.trainers.test_dpo import preferred
from trainers.data.demonstration import Demonstration
from trainers.data.rating import Rating
from trainers.models.policy import load_policy
from trainers.models.precision import Precision, precision_of
from trainers.models.scoring import log_probabilities
from trainers.policy.dpo import DPOSettings, train_dpo
from trainers.policy.kto import KTOSettings, train_kto
from trainers.policy.sft import SFTSettings, train_sft

pytestmark = pytest.mark.training

FAST = {"epochs": 1, "least_rows": 8, "learning_rate": 5e-3}


class Said:
    """Collects what a training reports."""

    def __init__(self) -> None:
        self.metrics: list[Mapping[str, float]] = []

    def __call__(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        self.metrics.append(metrics)


def demonstrations(n: int, words: int = 1) -> list[Demonstration]:
    return [
        Demonstration.of_reply((Message(role="user", content=f"Question {i}"),), "Good day, by Monday." + " word" * (i % words))
        for i in range(n)
    ]


def likelihood(model: Path, adapter: Path | None, rows: list[Demonstration]) -> float:
    found = log_probabilities(load_policy(str(model), adapter), [row.prompt for row in rows], [row.reply for row in rows])
    return float(sum(each.sum() for each in found) / len(rows))


# ---- SFT ----


@pytest.mark.parametrize(("weights", "native", "asked", "used"), [
    (135_000_000, True, None, True), (135_000_000, False, None, False), (900_000, True, None, False), (135_000_000, True, "fp32", False),
    (900_000, False, "bf16", True),
])  # fmt: skip
def test_bfloat16_is_for_large_models_on_a_cpu_that_has_it(
    weights: int, native: bool, asked: Precision | None, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    assert (precision_of(asked, weights) == "bf16") is used


def test_sft_makes_demonstrations_likelier_and_reports_the_loss(tiny_model: Path, tmp_path: Path) -> None:
    said, rows = Said(), demonstrations(40)
    trained = train_sft(str(tiny_model), rows, [], SFTSettings(**FAST | {"epochs": 3}), tmp_path, said)
    assert likelihood(tiny_model, trained.adapter, rows) > likelihood(tiny_model, None, rows) + 5
    assert (trained.rows, trained.steps, len(said.metrics)) == (40, 15, 15)
    assert said.metrics[-1]["loss"] < said.metrics[0]["loss"]


def test_the_first_loss_is_the_mean_over_the_replies_tokens_with_their_end_token(tiny_model: Path, tmp_path: Path) -> None:
    """Of all tokens of a step, whatever their micro-batch: replies of 20 and of 45 tokens, one and four rows to a batch."""
    rows = list(dict.fromkeys([*demonstrations(4), *demonstrations(8, words=6)]))
    policy = load_policy(str(tiny_model))
    tokens = log_probabilities(policy, [row.prompt for row in rows], [row.reply for row in rows])
    assert all(policy.chat.reply_ids(row.reply).count(policy.chat.end) == 1 for row in rows)
    expected = -sum(each.sum() for each in tokens) / sum(len(each) for each in tokens)
    for batch, accumulated in ((len(rows), 1), (1, len(rows))):
        said = Said()
        settings = SFTSettings(**FAST | {"least_rows": 1, "batch": batch, "gradient_accumulation": accumulated, "warmup": 0.0})
        train_sft(str(tiny_model), rows, [], settings, tmp_path / str(batch), said)
        assert said.metrics[0]["loss"] == pytest.approx(expected, rel=1e-4)
    adapters = [load_file(tmp_path / name / "policy" / "adapter_model.safetensors") for name in (str(len(rows)), "1")]
    for name, weight in adapters[0].items():
        assert torch.allclose(weight, adapters[1][name], atol=1e-4), name


def test_a_uniform_model_has_the_loss_of_the_log_of_its_vocabulary(tiny_model: Path, tmp_path: Path) -> None:
    policy = load_policy(str(tiny_model))
    torch.nn.init.zeros_(policy.model.get_output_embeddings().weight)
    policy.model.save_pretrained(tmp_path / "uniform")
    policy.tokenizer.save_pretrained(tmp_path / "uniform")
    said = Said()
    train_sft(str(tmp_path / "uniform"), demonstrations(8), [], SFTSettings(**FAST), tmp_path / "out", said)
    assert said.metrics[0]["loss"] == pytest.approx(math.log(policy.model.config.vocab_size), abs=1e-4)


def test_preferred_replies_are_demonstrations_by_setting(tiny_model: Path, tmp_path: Path) -> None:
    rows = preferred(16)
    with pytest.raises(DataRefused, match="0 demonstrations"):
        train_sft(str(tiny_model), [], rows, SFTSettings(**FAST), tmp_path, Said())
    trained = train_sft(str(tiny_model), [], rows, SFTSettings(**FAST, chosen=True), tmp_path, Said())
    assert trained.rows == 16


def test_replies_that_do_not_fit_are_counted(tiny_model: Path, tmp_path: Path) -> None:
    rows = [*demonstrations(10), replace(demonstrations(1)[0], reply="long " * 40)]
    trained = train_sft(str(tiny_model), rows, [], SFTSettings(**FAST, max_length=64), tmp_path, Said())
    assert (trained.rows, trained.too_long) == (10, 1)


def test_out_of_memory_says_what_to_set(tiny_model: Path, tmp_path: Path) -> None:
    def full(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainingError, match="set batch = 4 and gradient_accumulation = 2"):
        train_sft(str(tiny_model), demonstrations(16), [], SFTSettings(**FAST), tmp_path, full)


# ---- KTO ----


def rated(n: int) -> list[Rating]:
    """Replies with a date are good, others bad."""
    rows = []
    for i in range(n):
        prompt = (Message(role="user", content=f"Question {i}"),)
        rows.append(Rating.of_reply(prompt, "Good day, by Monday." if i % 2 else "Good day, see the portal.", bool(i % 2), "Ana"))
    return rows


def test_kto_makes_good_replies_likelier_than_bad_ones(tiny_model: Path, tmp_path: Path) -> None:
    rows, said = rated(40), Said()
    trained = train_kto(str(tiny_model), rows, KTOSettings(**FAST | {"epochs": 3, "batch": 8}), tmp_path, said)

    def gain(good: bool) -> float:
        some = [row for row in rows if row.good == good]
        after, before = (
            log_probabilities(load_policy(str(tiny_model), adapter), [row.prompt for row in some], [row.reply for row in some])
            for adapter in (trained.adapter, None)
        )
        return float(sum(a.sum() - b.sum() for a, b in zip(after, before, strict=True)) / len(some))

    assert gain(good=True) > gain(good=False) + 1
    assert said.metrics[0]["loss"] == pytest.approx(0.5, abs=1e-4)  # 1 - sigmoid(0) for both kinds: the policy is the reference


@pytest.mark.parametrize(("good", "words"), [(True, "all 20 replies are good"), (False, "all 20 replies are bad")])
def test_kto_needs_good_and_bad_replies(good: bool, words: str, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=words):
        train_kto(str(tiny_model), [replace(row, good=good) for row in rated(20)], KTOSettings(**FAST), tmp_path, Said())


def test_the_last_opinion_of_a_recruiter_holds(tiny_model: Path, tmp_path: Path) -> None:
    rows = rated(20)
    settings = KTOSettings(**FAST | {"least_rows": 21})
    with pytest.raises(DataRefused, match="20 ratings of single replies are too few"):
        train_kto(str(tiny_model), [*rows, *(replace(row, good=not row.good) for row in rows)], settings, tmp_path, Said())


# ---- losses of DPO ----


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, math.log(2)),
        ({"margins": (0.0, 0.0, 0.0, 1.0)}, math.log1p(math.e)),  # -log sigmoid(0 - 1)
        ({"label_smoothing": 0.2}, math.log(2)),  # (.8 ln 2 - .2 ln 2) / (1 - .4)
        ({"loss": "ipo", "beta": 0.5}, 1.0),  # (0 - 1 / 2 beta)^2
    ],
)
def test_the_first_loss_is_that_of_a_policy_equal_to_the_reference(
    settings: dict[str, object], expected: float, tiny_model: Path, tmp_path: Path
) -> None:
    said = Said()
    rows = [replace(row, strength=4) for row in preferred(8)]
    train_dpo(str(tiny_model), rows, DPOSettings.model_validate(FAST | {"sft_weight": 0.0} | settings), tmp_path, said)
    assert said.metrics[0]["loss"] == pytest.approx(expected, abs=1e-4)


def test_margins_follow_the_strength(tiny_model: Path, tmp_path: Path) -> None:
    """A significant and a slight preference, and one without a strength: margins 2, .5 and 0."""
    said = Said()
    rows = [replace(row, strength=strength) for row, strength in zip(preferred(6), (4, 2, None) * 2, strict=True)]
    settings = DPOSettings.model_validate(FAST | {"sft_weight": 0.0, "margins": (0, 0.5, 1, 2), "least_rows": 6})
    train_dpo(str(tiny_model), rows, settings, tmp_path, said)
    assert said.metrics[0]["loss"] == pytest.approx((math.log1p(math.e**2) + math.log1p(math.e**0.5) + math.log(2)) / 3, abs=1e-4)


def test_ipo_has_neither_margins_nor_smoothing() -> None:
    with pytest.raises(ValueError, match="need loss = 'sigmoid'"):
        DPOSettings(loss="ipo", label_smoothing=0.1)


# ---- files ----


def test_a_phase_trains_on_the_kind_of_records_that_it_needs(tiny_model: Path, tmp_path: Path) -> None:
    from storage.settings import Common, Settings
    from trainers.api import train_policy

    chats, ratings = tmp_path / "chats.jsonl", tmp_path / "ratings.jsonl"
    with chats.open("w") as file:
        for i in range(60):
            file.write(json.dumps({"messages": [{"role": "user", "content": f"Q {i}"}, {"role": "assistant", "content": f"A {i}"}]}) + "\n")
    with ratings.open("w") as file:
        for i in range(60):
            file.write(json.dumps({"prompt": f"Q {i}", "completion": f"A {i}", "label": bool(i % 2)}) + "\n")
    settings = Settings(Common(), {"sft": {"epochs": 1}, "kto": {"epochs": 1}})
    assert train_policy(settings, chats, str(tiny_model), tmp_path / "sft", method="sft").rows > 32
    assert train_policy(settings, ratings, str(tiny_model), tmp_path / "kto", method="kto").rows > 32
    with pytest.raises(DataRefused, match="0 decisive comparisons are too few"):
        train_policy(settings, chats, str(tiny_model), tmp_path / "dpo", method="dpo")
