"""Gates and their verdict: what passes, what fails, what is too little; as properties over all evidence."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from storage.errors import ConfigurationError
from storage.events import GateResult, Verdict
from storage.settings import Settings
from trainers.audits.gates.content import conduct, facts
from trainers.audits.gates.drift import kl_budget
from trainers.audits.gates.limits import Limits
from trainers.audits.gates.names import name_contrast
from trainers.audits.gates.preference import win_rate
from trainers.audits.gates.verdict import verdict
from trainers.audits.intervals import Interval
from trainers.audits.kl import Divergence
from trainers.audits.name_swap import Contrast
from trainers.audits.win_rate import WinRate

LIMITS = Limits.model_validate({})
shares = st.floats(0, 1)


def wins(figure: float, low: float, *, prompts: int = 800, judgments: int = 120, recruiters: int = 8) -> WinRate:
    return WinRate(Interval(figure, low, 1.0, recruiters), 0.05, prompts, judgments, recruiters, 0.5, 0.5, (0.0, 0.0))


def test_the_win_rate_passes_at_its_limits_and_not_below_one_of_them() -> None:
    assert win_rate(wins(0.55, 0.501), LIMITS.win_rate).verdict == "passed"
    assert win_rate(wins(0.549, 0.501), LIMITS.win_rate).verdict == "failed"
    assert win_rate(wins(0.7, 0.5), LIMITS.win_rate).verdict == "failed"
    for short in ({"prompts": 799}, {"judgments": 119}, {"recruiters": 7}):
        assert win_rate(wins(0.9, 0.8, **short), LIMITS.win_rate).verdict == "insufficient"


@given(shares, shares, st.integers(0, 2_000), st.integers(0, 300), st.integers(0, 20))
def test_the_win_rate_never_passes_on_less_than_it_asks_for(
    figure: float, low: float, prompts: int, judgments: int, recruiters: int
) -> None:
    found = win_rate(wins(figure, low, prompts=prompts, judgments=judgments, recruiters=recruiters), LIMITS.win_rate)
    if found.verdict == "passed":
        assert prompts >= 800
        assert judgments >= 120
        assert recruiters >= 8
        assert figure >= 0.55
        assert low > 0.5


@given(st.floats(0, 100), st.floats(0, 10), st.integers(0, 500))
def test_the_kl_budget_never_passes_on_less_than_it_asks_for(figure: float, reach: float, n: int) -> None:
    found = kl_budget(Divergence(Interval(figure, figure - reach, figure + reach, n), 0.1), LIMITS.kl_budget)
    if found.verdict == "passed":
        assert n >= LIMITS.kl_budget.min_prompts
        assert figure + reach < LIMITS.kl_budget.budget


def test_an_unbounded_divergence_is_no_pass() -> None:
    for interval in (Interval(1.0, -np.inf, np.inf, 500), Interval(float("nan"), float("nan"), float("nan"), 500)):
        found = kl_budget(Divergence(interval, 0.1), LIMITS.kl_budget)
        assert (found.verdict, found.low, found.high) == ("failed", None, None)


@given(st.integers(0, 1_200), st.integers(0, 40), st.integers(0, 40))
def test_facts_never_pass_on_less_than_they_ask_for(n: int, ours: int, theirs: int) -> None:
    challenger, champion = np.arange(n) < ours, np.arange(n)[::-1] < theirs
    found = facts(challenger, champion, LIMITS.facts)
    if found.verdict == "passed":
        assert n >= 800
        assert challenger.mean() - champion.mean() < 0.02
    assert conduct(challenger, champion, LIMITS.conduct).verdict == found.verdict


def test_two_points_more_wrong_facts_fail_and_equal_ones_pass() -> None:
    few, many = np.arange(900) < 9, np.arange(900) < 27
    assert facts(few, few, LIMITS.facts).verdict == "passed"
    assert facts(many, few, LIMITS.facts).verdict == "failed"
    assert facts(few, many, LIMITS.facts).verdict == "passed"
    words = facts(many, few, LIMITS.facts).words
    assert "3.0% of the new replies" in words
    assert "1.0% of the champion's" in words


def contrast(low: float, high: float, n: int = 12) -> Contrast:
    return Contrast("next_step", "two", "one", Interval((low + high) / 2, low, high, n))


def test_names_pass_only_where_equivalence_is_shown() -> None:
    assert name_contrast([contrast(-0.05, 0.05), contrast(-0.09, 0.0)], LIMITS.name_contrast).verdict == "passed"
    # no difference found, but none excluded either
    assert name_contrast([contrast(-0.2, 0.2)], LIMITS.name_contrast).verdict == "failed"
    worst = name_contrast([contrast(-0.05, 0.05), contrast(-0.5, -0.3)], LIMITS.name_contrast)
    assert worst.verdict == "failed"
    assert worst.figure == pytest.approx(-0.4)
    assert "next step" in worst.words
    assert name_contrast([contrast(-0.01, 0.01, n=9)], LIMITS.name_contrast).verdict == "insufficient"
    assert name_contrast([contrast(-np.inf, np.inf)], LIMITS.name_contrast).verdict == "failed"
    assert name_contrast([], LIMITS.name_contrast).verdict == "insufficient"


def result(verdict_: Verdict) -> GateResult:
    return GateResult(name="x", verdict=verdict_, figure=None, low=None, high=None, n=0, limit="", unit="", words="")


@given(st.lists(st.sampled_from(["passed", "failed", "insufficient"]), max_size=6), st.integers(0, 5))
def test_the_verdict_never_gets_better_when_a_gate_gets_worse(verdicts: list[Verdict], at: int) -> None:
    order: dict[Verdict, int] = {"passed": 0, "insufficient": 1, "failed": 2}
    before = verdict([result(v) for v in verdicts])
    assert order[before] == max((order[v] for v in verdicts), default=1)
    if verdicts:
        i = at % len(verdicts)
        for worse in order:
            if order[worse] >= order[verdicts[i]]:
                after = verdict([result(v) for v in [*verdicts[:i], worse, *verdicts[i + 1 :]]])
                assert order[after] >= order[before]


def test_a_section_lays_single_limits_over_the_defaults(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, {}).with_values(gates={"win_rate": {"least": 0.6}})
    limits = settings.section("gates", Limits)
    assert limits.win_rate.least == 0.6
    assert limits.win_rate.min_prompts == LIMITS.win_rate.min_prompts
    assert limits.facts == LIMITS.facts
    with pytest.raises(ConfigurationError, match="leest"):
        settings.with_values(gates={"win_rate": {"leest": 0.6}}).section("gates", Limits)
    with pytest.raises(ValidationError):
        Limits.model_validate({"facts": {"margin": 2}})
