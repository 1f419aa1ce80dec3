"""Win rate, intervals, divergence and the name audit, on values whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.gates.win_rate import last_in_a_row
from trainers.audits.policy.win_rate import (
    WinRate,
    WinRateLimits,
    gate,
    length_controlled,
    length_controlled_interval,
    rows,
    spent_alpha,
    win_rate,
)
from trainers.audits.statistics.intervals import logit_draws_interval, mean_interval, other_recruiters_interval, paired_shares
from trainers.reward.panel import Judged, PanelSettings

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
        judged_[0], ours, theirs, np.zeros(len(ours)),
        challengers_before=before, alpha=0.05, draws=200, panel=PanelSettings(), seed=0,
    )  # fmt: skip


TASTE = np.concatenate([[6.0], np.zeros(D - 1)])


def test_the_win_rate_is_the_chance_of_being_preferred_and_not_the_share_of_prompts() -> None:
    theirs = np.random.default_rng(1).normal(size=(800, D)) / np.sqrt(2 * D)
    for shift in (0.02, 0.3):  # the challenger is better by the same log-odds on every prompt: 6 * shift
        ours = theirs + np.concatenate([[shift], np.zeros(D - 1)])
        found = judge(judged(400, TASTE), ours, theirs)
        true = 1 / (1 + np.exp(-6 * shift))  # recruiters without ties: the logistic chance, .53 and .86; the share of prompts is 1
        assert found.rate.low < true < found.rate.high
        assert found.rate.figure == pytest.approx(true, abs=0.06)


def test_the_words_say_the_figure_for_these_recruiters_and_that_others_may_differ() -> None:
    theirs = np.random.default_rng(1).normal(size=(800, D)) / np.sqrt(2 * D)
    found = judge(judged(160, TASTE), theirs + np.concatenate([[0.3], np.zeros(D - 1)]), theirs)
    assert (found.judgments, found.recruiters, found.prompts) == (160, 10, 800)
    result = gate(found, WinRateLimits())
    assert result.verdict == "passed"
    assert f"in {found.rate.figure:.0%} of comparisons, ties counted half ({found.rate.low:.0%} to {found.rate.high:.0%})" in result.words
    assert found.others is not None
    assert f"Other recruiters may differ ({found.others.low:.0%} to {found.others.high:.0%})" in result.words
    assert found.others.low < found.rate.low < found.rate.high < found.others.high
    assert found.others.figure == pytest.approx(found.rate.figure)
    assert found.rate.figure == pytest.approx(np.mean(list(found.by_recruiter.values())))
    assert [label for label, _ in rows(found)].count("Win rate with r-3") == 1


def test_a_minority_of_recruiters_shows_in_their_own_win_rates() -> None:
    data, seen = judged(320, TASTE, recruiters=8)
    turned = np.isin(data.recruiter, ["r-0", "r-1"])
    data = replace(data, lower=np.where(turned, -data.upper, data.lower), upper=np.where(turned, -data.lower, data.upper))
    theirs = np.random.default_rng(1).normal(size=(400, D)) / np.sqrt(2 * D)
    found = judge((data, seen), theirs + np.concatenate([[0.3], np.zeros(D - 1)]), theirs).by_recruiter
    assert all((rate < 0.5) == (name in ("r-0", "r-1")) for name, rate in found.items())


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


def test_later_challengers_get_wider_intervals_and_all_of_them_together_spend_alpha() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(size=(200, D)), rng.normal(size=(200, D))
    first, third = judge(judged(60, TASTE), ours, theirs), judge(judged(60, TASTE), ours, theirs, before=2)
    assert third.alpha == pytest.approx(first.alpha / 9)
    assert third.rate.low < first.rate.low
    assert sum(spent_alpha(0.05, k) for k in range(1, 100_000)) == pytest.approx(0.05, abs=1e-6)  # Basel: the sum of 1/k² is pi²/6


def test_a_head_that_cannot_beat_a_coin_makes_the_gate_insufficient() -> None:
    theirs = np.random.default_rng(1).normal(size=(800, D)) / np.sqrt(2 * D)
    verdicts = []
    for seed in range(10):
        found = judge(judged(160, np.zeros(D), seed=seed), theirs + 0.1, theirs)
        verdicts.append(gate(found, WinRateLimits()).verdict)
        if not found.beats(0):
            assert "no better than by a coin" in gate(found, WinRateLimits()).words
    assert verdicts.count("insufficient") >= 8
    assert verdicts.count("passed") == 0


def test_the_length_controlled_rate_removes_the_effect_of_length() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.normal(0.5, 1, 4_000)
    by_length = lengths + 0.2 * rng.logistic(size=4_000)
    wins = (by_length > 0).astype(float)
    assert wins.mean() > 0.65
    assert abs(length_controlled(wins, lengths) - 0.5) < 0.03
    assert length_controlled(np.ones(50), np.zeros(50)) > 0.9


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
    found = logit_draws_interval(rng.binomial(400, 0.7, 500) / 400, alpha=0.05, n=1_000)
    # Wald's: 0.7 ± 1.96 * sqrt(0.21 / 400)
    assert found.low == pytest.approx(0.655, abs=0.005)
    assert found.high == pytest.approx(0.745, abs=0.005)


def test_the_interval_for_other_recruiters_is_the_clustered_students() -> None:
    shares = np.array([0.49, 0.50, 0.51, 0.52, 0.50, 0.48])
    found = other_recruiters_interval(np.tile(shares, (50, 1)), 0.05)  # no uncertainty but that between recruiters
    by_hand = mean_interval(shares, 0.95)
    assert found.low == pytest.approx(by_hand.low, abs=1e-4)
    assert found.high == pytest.approx(by_hand.high, abs=1e-4)
    assert other_recruiters_interval(np.full((9, 1), 0.7), 0.05).low == 0


def test_the_benchmark_starts_a_series_of_challengers_late_with_the_same_verdict() -> None:
    late, whole = (last_in_a_row(1, 0.60, 3, all_of_them=all_of_them) for all_of_them in (False, True))
    assert late == whole


def test_a_preference_that_length_explains_is_one_half_at_equal_length_and_one_for_content_stays() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.normal(0.4, 1, 3_000)
    x = np.tanh(lengths / lengths.std())
    by_length, by_content = 1 / (1 + np.exp(-1.5 * x)), 1 / (1 + np.exp(-0.7 - 1.5 * x))
    found = length_controlled_interval(np.tile(by_length, (50, 1)), lengths, 0.05, 0)
    assert by_length.mean() > 0.56
    assert found.figure == pytest.approx(0.5, abs=1e-4)  # the regression is the truth here; its ridge moves it by less
    assert (found.low, found.high) == pytest.approx((0.5, 0.5), abs=1e-4)  # a sure judge, and a fit without residuals
    content = length_controlled_interval(np.tile(by_content, (50, 1)), lengths, 0.05, 0)
    assert content.figure == pytest.approx(1 / (1 + np.exp(-0.7)), abs=1e-3)
    assert content.low > 0.5


def test_the_interval_at_equal_length_is_wide_where_the_judge_is_unsure_or_prompts_are_few() -> None:
    rng = np.random.default_rng(4)
    lengths = rng.normal(size=400)
    chance = 1 / (1 + np.exp(-(0.3 + rng.normal(size=400))))
    unsure = 1 / (1 + np.exp(-(np.log(chance / (1 - chance)) + rng.normal(size=(200, 1)))))
    sure = np.tile(chance, (200, 1))

    def width(draws: np.ndarray, n: int) -> float:
        found = length_controlled_interval(draws[:, :n], lengths[:n], 0.05, 0)
        return found.high - found.low

    assert width(unsure, 400) > 2 * width(sure, 400)
    assert width(sure, 50) > 1.5 * width(sure, 400)


def test_the_weighted_regressions_agree_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(5)
    lengths = rng.normal(size=500)
    wins = (rng.random(500) < 1 / (1 + np.exp(-0.4 - lengths))).astype(float)
    x = np.tanh(lengths / lengths.std())[:, None]
    fitted = LogisticRegression(C=1e6, tol=1e-10, max_iter=1_000).fit(x, wins)
    assert length_controlled(wins, lengths) == pytest.approx(1 / (1 + np.exp(-fitted.intercept_[0])), abs=1e-4)
