"""Win rate, intervals, divergence and the name audit, on values whose answers are known."""

import numpy as np
import pytest
from scipy.stats import norm

from trainers.audits.intervals import logit_interval, mean_interval, paired_shares
from trainers.audits.win_rate import WinRate, length_controlled, outside_support, win_rate, win_share
from trainers.reward.evaluation_head import EvaluationHeadSettings, Judged, fit

pytestmark = pytest.mark.training

D = 12


def judged(n: int, taste: np.ndarray, recruiters: int = 10, seed: int = 0) -> tuple[Judged, np.ndarray]:
    """Recruiters who choose with the logistic probability of ``taste`` times the feature difference."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, D)) / np.sqrt(2 * D), rng.normal(size=(n, D)) / np.sqrt(2 * D)
    first = rng.random(n) < 1 / (1 + np.exp(-(a - b) @ taste))
    found = Judged(
        differences=a - b,
        lower=np.where(first, 1, -4),
        upper=np.where(first, 4, -1),
        position=rng.choice([-1, 1], n),
        recruiter=np.array([f"r-{i % recruiters}" for i in range(n)]),
        prompt=np.array([f"p-{i}" for i in range(n)]),
    )
    return found, np.concatenate([a, b])


def judge(judged_: tuple[Judged, np.ndarray], ours: np.ndarray, theirs: np.ndarray, before: int = 0) -> WinRate:
    return win_rate(
        judged_[0], ours, theirs, None, np.zeros(len(ours)), judged_[1],
        challengers_before=before, alpha=0.05, resamples=40, head=EvaluationHeadSettings(), seed=0,
    )  # fmt: skip


TASTE = np.concatenate([[6.0], np.zeros(D - 1)])


def test_a_challenger_with_more_of_what_recruiters_prefer_wins() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.normal(size=(800, D)) / np.sqrt(2 * D)
    ours = theirs + np.concatenate([[0.3], rng.normal(size=D - 1) * 0.02])
    found = judge(judged(120, TASTE), ours, theirs)
    assert found.rate.figure > 0.9
    assert found.rate.low > 0.5
    assert (found.judgments, found.recruiters, found.prompts) == (120, 10, 800)
    assert win_share(fit(judged(120, TASTE)[0]).margins(ours - theirs)) == found.rate.figure


def test_a_champion_against_itself_is_one_half_exactly() -> None:
    theirs = np.random.default_rng(1).normal(size=(50, D))
    found = judge(judged(60, TASTE), theirs, theirs)
    assert found.rate.figure == 0.5
    assert found.rate.low <= 0.5 <= found.rate.high


def test_exchanging_the_two_models_mirrors_the_rate() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(size=(200, D)), rng.normal(size=(200, D))
    one, other = judge(judged(60, TASTE), ours, theirs).rate, judge(judged(60, TASTE), theirs, ours).rate
    assert one.figure == pytest.approx(1 - other.figure)
    assert one.low == pytest.approx(1 - other.high)


def test_later_challengers_get_wider_intervals() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(size=(200, D)), rng.normal(size=(200, D))
    first, third = judge(judged(60, TASTE), ours, theirs), judge(judged(60, TASTE), ours, theirs, before=2)
    assert third.alpha == pytest.approx(first.alpha / 9)
    assert third.rate.low < first.rate.low


def test_recruiters_without_a_taste_let_no_more_challengers_through_than_alpha_says() -> None:
    rng = np.random.default_rng(3)
    theirs = rng.normal(size=(800, D)) / np.sqrt(2 * D)
    shift = rng.normal(size=D) / np.sqrt(D)  # a challenger with a style of its own
    ours = theirs + 0.3 * shift + rng.normal(size=(800, D)) * 0.05
    through = [judge(judged(40, np.zeros(D), seed=seed), ours, theirs).rate for seed in range(14)]
    # at 2.5 % a side more than 2 of 14 would be less likely than one in a hundred
    assert sum(rate.low > 0.5 and rate.figure >= 0.55 for rate in through) <= 2


def test_the_length_controlled_rate_removes_the_effect_of_length() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.normal(0.5, 1, 4_000)
    by_length = lengths + 0.2 * rng.logistic(size=4_000)
    assert win_share(by_length) > 0.65
    assert abs(length_controlled(by_length, lengths) - 0.5) < 0.03
    assert length_controlled(np.ones(50), np.zeros(50)) > 0.9


def test_replies_far_from_all_that_was_judged_are_counted_and_unembedded_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    seen, near = rng.normal(size=(300, D)), rng.normal(size=(200, D))
    assert outside_support(near, seen) < 0.05
    assert outside_support(near + 20, seen) == 1
    assert outside_support(np.concatenate([near, np.zeros((500, D))]), seen) == outside_support(near, seen)


def test_intervals_agree_with_their_formulas() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = mean_interval(values, 0.90)
    # t(0.95, 3) = 2.3534 from the table; s = 1.29099, s / 2 = 0.645497
    assert found.low == pytest.approx(2.5 - 2.35336 * 0.645497, abs=1e-4)
    assert found.high == pytest.approx(2.5 + 2.35336 * 0.645497, abs=1e-4)
    assert mean_interval(values[:1], 0.9).high == np.inf

    # Agresti and Min's adjusted interval by hand: b = 12, c = 4 of n = 100, half a unit in each cell
    found = paired_shares(12, 4, 100, 0.95)
    assert found.figure == pytest.approx(0.08)
    b, c, n = 12.5 / 102, 4.5 / 102, 102
    assert found.high == pytest.approx(b - c + norm.ppf(0.95) * np.sqrt((b + c - (b - c) ** 2) / n))


def test_a_logit_interval_covers_the_share_that_it_was_drawn_around() -> None:
    rng = np.random.default_rng(0)
    found = logit_interval(0.7, rng.binomial(400, 0.7, 500) / 400, units=1_000, alpha=0.05)
    # Wald's: 0.7 ± 1.96 * sqrt(0.21 / 400)
    assert found.low == pytest.approx(0.655, abs=0.005)
    assert found.high == pytest.approx(0.745, abs=0.005)
    assert logit_interval(0.7, np.array([0.7, 0.7]), units=1, alpha=0.05).low == 0
