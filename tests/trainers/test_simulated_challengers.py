"""Synthetic panels, challengers and duels have the truth that they claim, and runs depend on the seed alone."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from trainers.audits.duel import DuelRule, assess
from trainers.audits.simulation.challengers import Challenger, that_wins
from trainers.audits.simulation.duels import TIES, Answers, fixed_n, panel_duel
from trainers.audits.simulation.kinds import GROUP_SHARE, kinds
from trainers.audits.simulation.panels import Panel
from trainers.audits.simulation.report import median_interval, summarised
from trainers.audits.simulation.runs import DUELS, SimulatedLimits, challenge, run

RULE = DuelRule()
LIMITS = SimulatedLimits(duel=DuelRule(budget=300))
NULL, BETTER = (kind for kind in kinds() if kind.name in ("null", "better_60"))
SHARES = np.array([GROUP_SHARE, 1 - GROUP_SHARE])


def test_a_panels_win_rates_and_ties_are_those_of_its_drawn_answers() -> None:
    """Judgments of pairs of equal models: one half, and as many ties as drawn."""
    rng = np.random.default_rng(0)
    panel = Panel.draw(rng, shared=1.0, own=0.3)
    judged = panel.judge(rng, 20_000)
    rates, ties = panel.answers(judged.differences)
    weights = np.bincount([int(name[2:]) for name in judged.recruiter], minlength=len(rates)) / len(judged)
    assert rates @ weights == pytest.approx(0.5, abs=0.01)  # either side of a pair may be named first
    assert ties @ weights == pytest.approx((judged.lower == 0).mean(), abs=0.015)


@pytest.mark.parametrize("rate", [0.40, 0.60, 0.70])
def test_a_challenger_wins_at_the_rate_that_was_asked_for(rate: float) -> None:
    rng = np.random.default_rng(1)
    panel, challenger = that_wins(rng, rate, smallest=-1.5)
    assert challenger.truth(rng, panel, 40_000) == pytest.approx(rate, abs=0.015)
    differences = challenger.replies(rng, 40_000) - Challenger(np.full(4, 0.5), np.zeros(60)).replies(rng, 40_000)
    assert panel.truth(differences) == pytest.approx(rate, abs=0.015)  # in all dimensions as in those that matter


@pytest.mark.parametrize(("seed", "win_rate"), list(product(range(3), (0.5, 0.7))))
def test_a_duel_that_is_read_up_to_its_end_ends_as_one_that_is_read_whole(seed: int, win_rate: float) -> None:
    rng = np.random.default_rng(seed)
    n = RULE.budget
    answers = Answers.draw(rng, np.full(n, win_rate), TIES, rng.integers(9, size=n), rng.integers(2, size=n))
    whole, read = assess(answers.judgments(n), RULE), answers.state(RULE)
    assert read.outcome is not None
    assert read == whole.model_copy(update={"judgments": read.judgments})


def test_drawn_answers_have_their_win_rate_and_ties() -> None:
    answers = Answers.of_panel(np.random.default_rng(2), 40_000, np.array([[0.2, 0.6], [0.4, 0.8]]), np.array([0.1, 0.3]), SHARES)
    assert answers.outcomes.mean() == pytest.approx(GROUP_SHARE * 0.3 + (1 - GROUP_SHARE) * 0.7, abs=0.01)
    assert (answers.outcomes == 0.5).mean() == pytest.approx(0.2, abs=0.01)


def test_a_canary_stops_a_winner_that_turns_out_worse_and_no_duel_promotes_at_once() -> None:
    rng = np.random.default_rng(3)
    good = np.full((9, 2), 0.75), np.full(9, 0.2), SHARES
    rule = DuelRule(canary=(0.1, 0.3), canary_judgments=25)
    plain, with_canary = panel_duel(rng, RULE, *good), panel_duel(rng, rule, *good)
    assert (plain.outcome, with_canary.outcome) == ("better", "better")
    assert with_canary.judgments >= rule.min_judgments + 2 * rule.canary_judgments
    assert panel_duel(rng, DuelRule(required=False), np.full((9, 2), 0.2), np.full(9, 0.2), SHARES) == ("better", 0)


def test_too_few_recruiters_never_decide_a_duel() -> None:
    """Of two, each may supply a quarter: after the first judgments none counts."""
    ended = panel_duel(np.random.default_rng(4), RULE, np.full((2, 2), 0.6), np.full(2, 0.2), SHARES)
    assert ended == (None, 10)


def test_a_fixed_test_has_the_size_of_the_closed_form() -> None:
    """n = ((z(.95) sqrt(.2) + z(.8) sqrt(.19)) / .1)² = 121.3 for a win rate of .60 with a fifth of ties."""
    assert fixed_n(0.60, 0.05) == 122


def test_the_interval_of_a_median_has_its_coverage() -> None:
    """The bounds are the order statistics with the smallest binomial coverage of at least 95%."""
    for n in (6, 25, 100):
        found = median_interval(list(range(1, n + 1)), 0.975, 1000)
        low, high = round(found.low), round(found.high)
        assert binom.cdf(high - 1, n, 0.5) - binom.cdf(low - 1, n, 0.5) >= 0.95 > binom.cdf(high - 2, n, 0.5) - binom.cdf(low, n, 0.5)
    assert (median_interval([5.0, 7.0], 0.975, 1000).low, median_interval([5.0, 7.0], 0.975, 1000).high) == (0, 1000)


def test_a_challenger_depends_on_its_seed_alone() -> None:
    first, again, other = (challenge(BETTER, LIMITS, (0, number)) for number in (0, 0, 1))
    assert first == again
    assert first.duels != other.duels
    assert len(first.duels) == DUELS


@pytest.mark.processes
def test_a_run_reports_every_kind_and_does_not_depend_on_the_number_of_processes() -> None:
    steps: list[tuple[int, int]] = []
    one = run((NULL, BETTER), LIMITS, runs=1, seed=0, processes=1, progress=lambda done, total: steps.append((done, total)))
    two = run((BETTER,), LIMITS, runs=1, seed=0, processes=2)
    assert one.challenged["better_60"] == two.challenged["better_60"]
    assert one.curve == two.curve
    assert steps[-1] == (12, 12)
    found = summarised(one, (NULL, BETTER), LIMITS, runs=1, seed=0, bias=0.0)
    assert set(found.summary.false_promotion) == {"null"}
    assert set(found.summary.missed_improvement) == {"better_60"}
    null, better = found.kinds
    assert better.duel.won.figure > 0.6 > 0.2 > null.duel.won.figure
    for kind in found.kinds:
        assert kind.duel.won.figure + kind.duel.harm.figure + kind.duel.futile.figure + kind.duel.undecided.figure == pytest.approx(1)
        assert kind.promoted.figure == pytest.approx(kind.admitted.figure * kind.duel.won.figure)
        assert all(sum(verdicts.values()) == 1 for verdicts in kind.gates.values())
