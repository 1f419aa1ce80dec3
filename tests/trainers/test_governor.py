"""The governor's test and law against numbers and simulations, the second reward, and the sources of rewards."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.errors import ConfigurationError, DataRefused
from storage.events import Message
from storage.settings import Common, Settings
from trainers.data.preference import Preference
from trainers.features.embedder import Embedder
from trainers.features.embedding import Item
from trainers.features.settings import FeatureSettings
from trainers.policy.governor import Governor, worse_than_best
from trainers.policy.reward_sources import IDEAL_WORDS, reward_function
from trainers.policy.rollouts import Rollout
from trainers.policy.second_reward import SecondReward, split
from trainers.policy.training_curve import best_of_n_kl, fitted_law, law

WEEK = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
FACTS = Message(role="system", content="Name: Ana\nSlot: Monday 9:00")


def rollouts_of(texts: Sequence[str]) -> list[Rollout]:
    prompt = (FACTS, Message(role="user", content="When?"))
    return [Rollout(prompt, [1, 2], [3, 4], [-0.5, -0.25], text, True) for text in texts]


def governed(seconds: Sequence[Sequence[float]], alpha: float = 0.05) -> tuple[Governor, list[str | None]]:
    """A governor after checks at which the second reward was this, by prompt, and the first the number of the check."""
    at = iter(range(len(seconds)))
    state = {"now": 0}

    def proxy(items: Sequence[Item]) -> list[float]:
        state["now"] = next(at)
        return [float(state["now"] + i / 10) for i, _ in enumerate(items)]

    governor = Governor([], proxy, lambda items: list(seconds[state["now"]]), len(seconds), alpha)
    stops = [governor.check(5 * n, rollouts_of(["word"] * len(row)), float(n)).stop for n, row in enumerate(seconds)]
    return governor, stops


def test_a_second_reward_that_falls_ends_the_training_and_its_peak_is_kept() -> None:
    rng = np.random.default_rng(0)
    rows = [(level + 0.1 * rng.normal(size=40)).tolist() for level in (0, 1, 2, 1)]
    governor, stops = governed(rows)
    assert stops[:3] == [None, None, None]
    assert stops[3] is not None
    assert "step 10 is kept" in stops[3]
    assert [point.kept for point in governor.curve] == [False, False, True, False]
    assert governor.curve[0].proxy == governor.curve[0].second == 0
    assert governor.curve[1].entropy == pytest.approx(0.375)


def test_policies_that_never_get_worse_are_stopped_in_at_most_alpha_of_trainings() -> None:
    """300 trainings of 9 checks whose policy does not change, so that every difference is noise: the false-stop rate is below alpha."""
    rng = np.random.default_rng(1)
    stopped = 0
    for _ in range(300):
        prompts = rng.normal(size=64)
        rows = np.array([prompts + 0.5 * rng.normal(size=64) for _ in range(9)])
        stopped += any(worse_than_best(rows[: k + 1, None]) < 0.1 / 9 for k in range(1, 9))
    assert stopped / 300 <= 0.1


def test_a_fall_of_half_a_deviation_is_found() -> None:
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(50):
        prompts = rng.normal(size=128)
        rows = np.array([prompts + level + 0.5 * rng.normal(size=128) for level in (0, 0.5, 0)])
        found += worse_than_best(rows[:, None]) < 0.05 / 9
    assert found >= 45


def test_a_fall_that_the_fits_disagree_about_is_none() -> None:
    """By the fit to all judgments the last policy falls by half a deviation; by resampled ones it may as well have risen."""
    rng = np.random.default_rng(3)
    prompts = rng.normal(size=128)
    levels = np.array([[0.0, 0.5, 0.0], *([0.0, 0.5, 0.5 + each] for each in rng.normal(0, 1, 30))])
    unsure = np.array([[prompts + level + 0.1 * rng.normal(size=128) for level in fit] for fit in levels]).transpose(1, 0, 2)
    sure = np.repeat(unsure[:, :1], 31, axis=1)
    assert worse_than_best(unsure) > 0.1
    assert worse_than_best(sure) < 0.001


def test_replies_that_do_not_change_are_not_worse() -> None:
    assert worse_than_best(np.ones((3, 1, 10))) == 1.0


def test_without_a_second_reward_the_last_policy_is_kept() -> None:
    governor = Governor([], lambda items: [0.0] * len(items), None, 3)
    for n in range(3):
        check = governor.check(n, rollouts_of(["a", "b"] * 2), 0.0)
        assert (check.best, check.stop) == (True, None)
    assert [point.kept for point in governor.curve] == [False, False, True]
    assert governor.curve[-1].second is None


def test_wrong_facts_are_counted_and_a_restored_governor_goes_on() -> None:
    governor = Governor([], lambda items: [0.0] * len(items), lambda items: [1.0] * len(items), 2)
    governor.check(0, rollouts_of(["Monday 9:00 is free.", "Tuesday 10:00 is free."] * 2), 0.0)
    assert governor.points[0].wrong_facts == 0.5
    other = Governor([], governor.proxy, governor.second, 2)
    other.restore(governor.state())
    assert other.points == governor.points
    assert other.check(5, rollouts_of(["a", "b"] * 2), 1.0) == governor.check(5, rollouts_of(["a", "b"] * 2), 1.0)


def test_the_law_is_fitted_to_its_own_curve() -> None:
    x = np.linspace(0, 4, 9)
    assert fitted_law(x.tolist(), law(x, 0.7, 0.3).tolist()) == pytest.approx((0.7, 0.3))
    with pytest.raises(ValueError, match="two points"):
        fitted_law([0, 1], [0, 1])


def test_the_divergence_of_best_of_n() -> None:
    """ln 4 - 3/4."""
    assert best_of_n_kl(4) == pytest.approx(0.636294, abs=1e-6)


# ---- the second reward ----


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.load(FeatureSettings())


def judged(n: int, recruiters: Sequence[str | None]) -> list[Preference]:
    """Preferences for replies that ask back."""
    rows = []
    for i in range(n):
        prompt = (Message(role="user", content=f"Question {i}"),)
        row = Preference.of_replies(prompt, f"Fine, number {i}. Can you come?", f"Fine, number {i}. See the portal.")
        rows.append(replace(row, recruiter=recruiters[i % len(recruiters)]))
    return rows


def test_a_third_of_the_recruiters_is_held_out_whatever_the_order() -> None:
    rows = judged(120, [f"recruiter {n}" for n in range(12)])
    halves = split(rows)
    assert halves.by == "recruiters"
    assert len({row.recruiter for row in halves.held_out}) == 4
    assert not {row.recruiter for row in halves.held_out} & {row.recruiter for row in halves.first}
    assert {row.recruiter for row in split(rows[::-1]).held_out} == {row.recruiter for row in halves.held_out}


def test_with_few_recruiters_conversations_are_held_out() -> None:
    halves = split(judged(120, ["one", "two", None]))
    assert halves.by == "conversations"
    assert 20 <= len(halves.held_out) <= 60
    assert not {row.conversation_id for row in halves.held_out} & {row.conversation_id for row in halves.first}


def test_the_second_reward_learns_words_and_signs(embedder: Embedder) -> None:
    second = SecondReward.fit(judged(60, ["one"]), embedder)
    assert second is not None
    prompt = (Message(role="user", content="New"),)
    asks, points = second.scores([(prompt, "Well. Can you come?"), (prompt, "Well. See the portal.")]).T
    assert asks[0] > points[0]
    assert (asks > points).mean() > 0.95  # by resampled judgments too
    assert SecondReward.fit(judged(20, ["one"]), embedder) is None


def test_facts_that_the_conversation_does_not_support_cost_much_though_no_judgment_was_about_one(embedder: Embedder) -> None:
    second = SecondReward.fit(judged(60, ["one"]), embedder)
    assert second is not None
    prompts = [(Message(role="system", content=f"Name: Ana\nSlot: {day} 9:00"), Message(role="user", content="When?")) for day in WEEK]
    right = second.scores([(prompt, f"Come on {day} at 9:00.") for prompt, day in zip(prompts, WEEK, strict=True)])
    wrong = second.scores([(prompt, f"Come on {day} at 9:00.") for prompt, day in zip(prompts, WEEK[1:] + WEEK[:1], strict=True)])
    assert (right - wrong > second.spread[:, None]).all()


def test_a_wrong_fact_costs_the_same_share_of_what_was_learnt_whatever_its_scale(embedder: Embedder) -> None:
    few, many = (SecondReward.fit(judged(n, ["one"]), embedder) for n in (45, 400))
    assert few is not None
    assert many is not None
    assert few.spread[0] < many.spread[0], "with few judgments the weights are shrunk"
    prompt = (FACTS, Message(role="user", content="When?"))
    for second in (few, many):
        learnt = second.weights @ second._features([(prompt, "Come on Friday.")]).T
        assert second.scores([(prompt, "Come on Friday.")]) == pytest.approx(learnt - 2 * second.spread[:, None])


# ---- sources ----


def test_rules_and_functions_are_summed_with_their_weights(tmp_path: Path) -> None:
    found = reward_function({"length": 2.0, "facts": 1.0, "builtins:len": 0.5}, [], [], Settings(Common()), tmp_path)
    prompt = (FACTS, Message(role="user", content="When?"))
    items = [(prompt, "word " * IDEAL_WORDS), (prompt, "Tuesday " + "word " * (IDEAL_WORDS - 1))]
    assert np.asarray(found(items)).tolist() == [1.0, 0.0]  # 0 - 0 + 1, 0 - 1 + 1: builtins.len is 2, the number of items


def test_the_length_rule_falls_by_one_for_each_factor_of_e(tmp_path: Path) -> None:
    found = reward_function({"length": 1.0}, [], [], Settings(Common()), tmp_path)
    prompt = (Message(role="user", content="Hi"),)
    scores = np.asarray(found([(prompt, "w " * IDEAL_WORDS), (prompt, "w " * (2 * IDEAL_WORDS)), (prompt, "w " * (IDEAL_WORDS // 2))]))
    assert scores.tolist() == pytest.approx([0, -np.log(2), -np.log(2)])


@pytest.mark.parametrize(
    ("name", "words"),
    [("heads", "none of length, facts, head"), ("no.such:thing", "cannot be imported"), ("math:pi", "is no function")],
)
def test_a_source_that_does_not_exist_is_named(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=words):
        reward_function({name: 1.0}, [], [], Settings(Common()), tmp_path)


def test_a_saved_reward_model_that_was_never_checked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="may not train a policy: it has not been checked"):
        reward_function({str(tmp_path): 1.0}, [], [], Settings(Common()), tmp_path)


def test_a_kind_needs_judgments_to_be_fitted_to(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="20 decisive comparisons are too few"):
        reward_function({"head": 1.0}, judged(20, ["one"]), [], Settings(Common()), tmp_path)
