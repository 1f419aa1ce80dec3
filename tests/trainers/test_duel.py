"""The duel's tests keep their error rates, however often they are looked at, and nobody decides one alone."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.audits.duel import DuelJudgment, DuelRule, assess, assess_canary, counted
from trainers.audits.statistics.sequential import confidence_sequence, first_crossing, log_wealth, log_wealth_below

RULE = DuelRule()
OUTCOMES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=120)


def judgments(outcomes: Sequence[float], *, recruiters: int = 12, groups: Sequence[str] = (), live: bool = False) -> list[DuelJudgment]:
    return [
        DuelJudgment(
            sequence=10 * (i + 1),
            recruiter=f"r-{i % recruiters}",
            outcome=outcome,
            live=live,
            groups={"sex": groups[i % len(groups)]} if groups else {},
        )
        for i, outcome in enumerate(outcomes)
    ]


def drawn(win_rate: float, n: int, seed: int, ties: float = 0.2) -> np.ndarray:
    """Outcomes with this mean and share of ties."""
    u = np.random.default_rng(seed).random(n)
    return np.where(u < win_rate - ties / 2, 1.0, np.where(u < win_rate + ties / 2, 0.5, 0.0))


def test_the_wealth_is_the_mean_of_what_each_fixed_bet_has_made() -> None:
    """By hand: two wins and a loss at stakes .2 and .8 of the distance to one half."""
    found = np.exp(log_wealth(np.array([1.0, 1.0, 0.0]), 0.5, bets=(0.2, 0.8)))
    by_hand = [(1.1 + 1.4) / 2, (1.1**2 + 1.4**2) / 2, (1.1**2 * 0.9 + 1.4**2 * 0.6) / 2]
    assert found == pytest.approx(by_hand)
    assert np.exp(log_wealth_below(np.array([0.0]), 0.5, bets=(0.2,))) == pytest.approx([1.1])


def test_a_tie_changes_no_evidence_about_one_half() -> None:
    with_ties = log_wealth(np.array([1.0, 0.5, 0.5, 0.0]), 0.5)
    assert with_ties[-1] == pytest.approx(log_wealth(np.array([1.0, 0.0]), 0.5)[-1])


def test_few_null_challengers_ever_win_and_a_preferred_one_needs_fewer_judgments_than_a_fixed_sample() -> None:
    """Ville's inequality, and the fixed-n test of the same error rates: n = (1.645·s0 + .842·s1)² / .1², ties .2, which is 122."""
    nulls = [first_crossing(log_wealth(drawn(0.5, 1500, seed), 0.5), 0.05) for seed in range(300)]
    assert sum(found is not None for found in nulls) <= 15 + 3 * math.sqrt(300 * 0.05 * 0.95)
    needed = [found for seed in range(300) if (found := first_crossing(log_wealth(drawn(0.6, 1500, seed), 0.5), 0.05)) is not None]
    s0, s1 = math.sqrt(0.8 / 4), math.sqrt(0.8 / 4 - 0.01)
    assert np.median(needed) + 1 <= (1.645 * s0 + 0.842 * s1) ** 2 / 0.01


def test_the_bounds_of_the_win_rate_agree_with_the_test() -> None:
    outcomes = drawn(0.7, 60, 1)
    low, high = confidence_sequence(outcomes, 0.05)
    assert first_crossing(log_wealth(outcomes, low - 0.001), 0.05) is not None
    assert first_crossing(log_wealth(outcomes, low + 0.001), 0.05) is None
    assert first_crossing(log_wealth_below(outcomes, high + 0.001), 0.05) is not None
    assert confidence_sequence(np.array([]), 0.05) == (0.0, 1.0)


@given(OUTCOMES)
def test_judgments_after_the_decision_change_nothing(outcomes: list[float]) -> None:
    state = assess(judgments([*outcomes, *[1.0] * 60]), RULE)
    again = assess(judgments([*outcomes, *[1.0] * 60, *[0.0] * 50]), RULE)
    assert state.outcome is not None
    assert (again.outcome, again.through_sequence, again.counted) == (state.outcome, state.through_sequence, state.counted)


@given(st.lists(st.integers(0, 5), max_size=200))
def test_nobody_supplies_more_than_a_quarter_of_twenty_or_more_judgments(recruiters: list[int]) -> None:
    counts = counted([str(each) for each in recruiters], 0.25)
    used = [each for each, counts_ in zip(recruiters, counts, strict=True) if counts_]
    if len(used) >= 20:
        assert max(used.count(each) for each in set(used)) <= len(used) / 4


def test_a_challenger_needs_the_least_number_of_judgments_even_if_it_wins_them_all() -> None:
    state = assess(judgments([1.0] * 30), RULE)
    assert (state.outcome, state.counted) == ("better", RULE.min_judgments)
    assert state.through_sequence == 10 * RULE.min_judgments


def test_a_challenger_that_wins_overall_is_stopped_when_it_is_worse_for_a_group() -> None:
    """It wins two of three judgments, but loses every one of the women's."""
    outcomes, groups = [1.0, 1.0, 0.0] * 40, ["male", "male", "female"]
    assert assess(judgments(outcomes), RULE.model_copy(update={"min_judgments": 100})).outcome == "better"
    state = assess(judgments(outcomes, groups=groups), RULE.model_copy(update={"min_judgments": 100}))
    assert state.outcome == "harm"
    assert "sex female" in state.words


def test_a_challenger_cannot_win_before_a_large_enough_group_has_been_heard() -> None:
    """The men decide it within twenty judgments; one judgment in five is about women, who are treated alike or worse."""
    groups = ["male", "male", "female", "male", "male"]
    alike = assess(judgments([1.0, 1.0, 1.0, 1.0, 0.5] * 40, groups=groups), RULE)
    assert alike.outcome == "better"
    cleared = {group.group: group for group in alike.groups}
    assert cleared["female"].cleared
    assert cleared["female"].judgments >= 8  # more than the duel would have needed without groups
    assert assess(judgments([1.0, 1.0, 1.0, 1.0, 0.5] * 40), RULE).counted < alike.counted
    unheard = assess(judgments([1.0, 1.0, 0.5, 1.0, 1.0] * 5, groups=groups), RULE)
    assert unheard.outcome is None
    assert "not yet cleared of harm to sex female" in unheard.words


def test_three_judgments_of_a_small_group_show_no_harm() -> None:
    outcomes = [0.0, 0.0, 0.0, *[1.0, 0.5, 0.0] * 10]
    groups = ["x", "x", "x", *["y"] * 30]
    assert assess(judgments(outcomes, groups=groups), RULE).outcome is None


def test_a_duel_ends_when_the_budget_is_used() -> None:
    state = assess(judgments(drawn(0.53, 60, 4).tolist()), RULE.model_copy(update={"budget": 40}))
    assert (state.outcome, state.counted) == ("futile", 40)
    assert "budget of 40" in state.words


def test_the_error_rate_over_groups_is_spent_in_the_order_in_which_they_appear() -> None:
    state = assess(judgments([0.5] * 9, groups=["a", "b", "c"]), RULE)
    spent = [group.alpha for group in state.groups]
    assert spent == pytest.approx([0.05 * 6 / math.pi**2 / k**2 for k in (1, 2, 3)])
    assert [group.group for group in state.groups] == ["a", "b", "c"]


def test_a_canary_counts_live_judgments_only_and_its_alarm_comes_before_its_end() -> None:
    rule = RULE.model_copy(update={"canary": (0.1, 0.3), "canary_judgments": 25})
    fine = judgments([1.0, 0.5, 0.0] * 20, live=True)
    assert assess_canary(judgments([1.0] * 60), rule, 0)[0] is None
    assert assess_canary(fine[:24], rule, 0)[0] is None
    assert assess_canary(fine, rule, 0)[:2] == ("better", 250)
    assert assess_canary(fine, rule, 1)[:2] == ("better", 500)
    assert assess_canary(judgments([0.0] * 60, live=True), rule, 0)[0] == "futile"
