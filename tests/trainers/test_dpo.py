"""Real DPO steps on a model small enough for a test."""

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from storage.errors import DataRefused
from storage.events import Message
from trainers.audits.policy.kl_budget import kl
from trainers.data.preference import Preference
from trainers.models.policy import load_policy
from trainers.models.scoring import log_probabilities
from trainers.policy.comparisons import admissible
from trainers.policy.dpo import DPOSettings, train_dpo

pytestmark = pytest.mark.training

FAST = DPOSettings(epochs=2, batch=8, learning_rate=5e-3, least_rows=8, checkpoints=4)


def row(prompt: tuple[Message, ...], chosen: str, rejected: str, occurred_at: datetime | None = None) -> Preference:
    return replace(Preference.of_replies(prompt, chosen, rejected), occurred_at=occurred_at)


def preferred(n: int) -> list[Preference]:
    """Preferences for replies that end with a date."""
    rng = random.Random(0)
    rows = []
    for i in range(n):
        prompt = (Message(role="user", content=f"Question {i}"),)
        word = rng.choice(["Hello", "Good day", "Thanks"])
        rows.append(row(prompt, f"{word}, by Monday.", f"{word}, see the portal.", datetime(2026, 1, 1, tzinfo=UTC)))
    return rows


def silent(step: int, steps: int, metrics: Mapping[str, float]) -> None:
    pass


def margin(model: Path, adapter: Path | None, rows: list[Preference]) -> float:
    policy = load_policy(str(model), adapter)
    prompts = [row.prompt for row in rows]
    chosen = log_probabilities(policy, prompts, [row.chosen for row in rows])
    rejected = log_probabilities(policy, prompts, [row.rejected for row in rows])
    return sum(float(a.sum() - b.sum()) for a, b in zip(chosen, rejected, strict=True)) / len(rows)


def test_training_raises_the_chosen_replies_margin_and_reports_it(tiny_model: Path, tmp_path: Path) -> None:
    rows, said = preferred(40), []
    trained = train_dpo(str(tiny_model), rows, FAST, tmp_path, lambda step, steps, metrics: said.append((step, steps, dict(metrics))))
    assert margin(tiny_model, trained.adapter, rows) > margin(tiny_model, None, rows) + 1
    assert (trained.rows, trained.steps) == (40, 10)
    assert [step for step, _, _ in said] == list(range(1, 11))
    assert said[-1][2]["reward_margin"] > said[0][2]["reward_margin"]
    assert said[-1][2]["loss"] < said[0][2]["loss"]
    files = sorted(path.name for path in trained.adapter.iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    assert not (tmp_path / "checkpoints").exists()
    weights = load_file(trained.adapter / "adapter_model.safetensors")
    assert all("lora_" in name for name in weights)

    merged, apart = (load_policy(str(tiny_model), trained.adapter, merge=merge) for merge in (True, False))
    prompts, replies = [row.prompt for row in rows[:6]], [row.chosen for row in rows[:6]]
    base = load_policy(str(tiny_model))
    assert kl(merged, apart, prompts, replies).per_reply.figure < 1e-4
    assert kl(merged, merged, prompts, replies).per_reply.figure == 0
    assert kl(merged, base, prompts, replies).per_reply.low > 0.01


def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(tiny_model: Path, tmp_path: Path) -> None:
    rows = preferred(24)
    whole = train_dpo(str(tiny_model), rows, FAST, tmp_path / "whole", silent)

    class Killed(Exception):
        pass

    def die(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        train_dpo(str(tiny_model), rows, FAST, tmp_path / "parts", die)
    torn = tmp_path / "parts" / "checkpoints" / "checkpoint-99"  # a checkpoint that was being written
    torn.mkdir()
    seen: list[int] = []
    parts = train_dpo(str(tiny_model), rows, FAST, tmp_path / "parts", lambda step, steps, metrics: seen.append(step))
    assert seen == [5, 6]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (whole.adapter / name).read_bytes() == (parts.adapter / name).read_bytes()


def test_too_few_rows_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="7 decisive comparisons"):
        train_dpo(str(tiny_model), preferred(7), FAST, tmp_path, silent)


def test_one_row_a_pair_and_none_where_people_disagree() -> None:
    one, other, third = preferred(3)
    against = row(one.prompt, one.rejected, one.chosen, one.occurred_at)
    assert admissible([one, one, against, other, third, third], None) == [one, other, third]
    assert admissible([one, against, other], None) == [other]
    assert admissible([row(one.prompt, "same", "same")], None) == []


def test_old_rows_are_thinned_by_half_lives_and_never_return() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    prompts = [(Message(role="user", content=f"Question {i}"),) for i in range(2_000)]
    fresh = [row(prompt, "a", "b", now) for prompt in prompts[:10]]

    def kept(days: int) -> set[str]:
        old = [row(prompt, "a", "b", now - timedelta(days=days)) for prompt in prompts[10:]]
        return {row.prompt[0].content for row in admissible(fresh + old, 100)[10:]}

    # 1,990 rows kept with probability 1/2 and 1/4: three standard deviations are 67 and 58
    assert abs(len(kept(100)) - 995) < 67
    assert abs(len(kept(200)) - 497) < 58
    assert kept(200) < kept(100) < kept(1)
    assert len(admissible([row(p, "a", "b") for p in prompts], 100)) == 2_000
