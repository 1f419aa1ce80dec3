"""Gates and their verdict: what passes, fails or is insufficient evidence, also as properties over all findings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from storage.errors import ConfigurationError
from storage.events import GateResult, Verdict
from storage.settings import Settings
from trainers.audits.content import conduct, facts
from trainers.audits.content.conduct import ConductLimits
from trainers.audits.content.facts import FactsLimits
from trainers.audits.content.shares import Shares
from trainers.audits.policy import kl_budget, win_rate
from trainers.audits.policy.kl_budget import Divergence, Divergences, KLLimits
from trainers.audits.policy.win_rate import WinRate, WinRateLimits
from trainers.audits.reward import name_contrast
from trainers.audits.reward.name_contrast import Contrast, ContrastLimits, Contrasts
from trainers.audits.statistics.intervals import Interval
from trainers.audits.table import AUDITS, audits, gates_section, verdict

shares = st.floats(0, 1)


def wins(figure: float, low: float, *, prompts: int = 800, judgments: int = 120, recruiters: int = 8) -> WinRate:
    return WinRate(
        rate=Interval(figure=figure, low=low, high=1.0, n=recruiters), alpha=0.05, prompts=prompts, judgments=judgments,
        recruiters=recruiters, length_controlled=0.5, null=0.5, outside=(0.0, 0.0),
    )  # fmt: skip


def test_the_win_rate_passes_at_its_limits_and_not_below_one_of_them() -> None:
    assert win_rate.gate(wins(0.55, 0.501), WinRateLimits()).verdict == "passed"
    assert win_rate.gate(wins(0.549, 0.501), WinRateLimits()).verdict == "failed"
    assert win_rate.gate(wins(0.7, 0.5), WinRateLimits()).verdict == "failed"
    for short in ({"prompts": 799}, {"judgments": 119}, {"recruiters": 7}):
        assert win_rate.gate(wins(0.9, 0.8, **short), WinRateLimits()).verdict == "insufficient"


@given(shares, shares, st.integers(0, 2_000), st.integers(0, 300), st.integers(0, 20))
def test_the_win_rate_never_passes_on_less_evidence_than_required(
    figure: float, low: float, prompts: int, judgments: int, recruiters: int
) -> None:
    found = win_rate.gate(wins(figure, low, prompts=prompts, judgments=judgments, recruiters=recruiters), WinRateLimits())
    if found.verdict == "passed":
        assert prompts >= 800
        assert judgments >= 120
        assert recruiters >= 8
        assert figure >= 0.55
        assert low > 0.5


def moved(interval: Interval) -> Divergences:
    found = Divergence(per_reply=interval, per_token=0.1)
    return Divergences(base=found, champion=found)


@given(st.floats(0, 100), st.floats(0, 10), st.integers(0, 500))
def test_the_kl_budget_never_passes_on_less_evidence_than_required(figure: float, reach: float, n: int) -> None:
    limits = KLLimits()
    found = kl_budget.gate(moved(Interval(figure=figure, low=figure - reach, high=figure + reach, n=n)), limits)
    if found.verdict == "passed":
        assert n >= limits.min_prompts
        assert figure + reach < limits.budget


def test_an_unbounded_divergence_fails() -> None:
    nan = float("nan")
    for interval in (Interval(figure=1.0, low=-np.inf, high=np.inf, n=500), Interval(figure=nan, low=nan, high=nan, n=500)):
        found = kl_budget.gate(moved(interval), KLLimits())
        assert (found.verdict, found.low, found.high) == ("failed", None, None)


def bad(n: int, both: int, more: int, fewer: int) -> Shares:
    """Shares from the number of prompts where both replies are bad, only the challenger's, and only the base model's."""
    base = (both + fewer) / max(n, 1)
    return Shares(challenger=(both + more) / max(n, 1), champion=base, base=base, n=n, more=more, fewer=fewer)


@given(st.integers(0, 1_200), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_facts_and_conduct_never_pass_on_less_evidence_than_required(n: int, both: int, more: int, fewer: int) -> None:
    n = max(n, both + more + fewer)
    if facts.gate(bad(n, both, more, fewer), FactsLimits()).verdict == "passed":
        assert n >= 400
        assert (more - fewer) / n < 0.02
    if conduct.gate(bad(n, both, more, fewer), ConductLimits()).verdict == "passed":
        assert n >= 800


def test_two_points_more_wrong_facts_fail_and_equal_ones_pass() -> None:
    assert facts.gate(bad(900, 9, 0, 0), FactsLimits()).verdict == "passed"
    assert facts.gate(bad(900, 9, 0, 18), FactsLimits()).verdict == "passed"
    many = facts.gate(bad(900, 9, 18, 0), FactsLimits())
    assert many.verdict == "failed"
    assert "3.0% of the new replies" in many.words
    assert "1.0% of the base model's" in many.words


def test_a_finding_that_was_compared_with_the_champion_is_read_and_gives_no_verdict() -> None:
    for module, limits in ((facts, FactsLimits()), (conduct, ConductLimits())):
        found = Shares.model_validate({"challenger": 0.0, "champion": 0.0, "n": 900, "more": 0, "fewer": 0})
        result = module.gate(found, limits)
        assert result.verdict == "insufficient"
        assert "compares with the champion" in result.words


def contrast(low: float, high: float, n: int = 12) -> Contrast:
    interval = Interval(figure=(low + high) / 2, low=low, high=high, n=n)
    return Contrast(attribute="next_step", group="two", reference="one", interval=interval)


def names(*contrasts: Contrast) -> GateResult:
    return name_contrast.gate(Contrasts(contrasts=contrasts), ContrastLimits())


def test_names_pass_only_where_equivalence_is_shown() -> None:
    assert names(contrast(-0.05, 0.05), contrast(-0.09, 0.0)).verdict == "passed"
    # no difference found, but none excluded either
    assert names(contrast(-0.2, 0.2)).verdict == "failed"
    worst = names(contrast(-0.05, 0.05), contrast(-0.5, -0.3))
    assert worst.verdict == "failed"
    assert worst.figure == pytest.approx(-0.4)
    assert "next step" in worst.words
    assert names(contrast(-0.01, 0.01, n=9)).verdict == "insufficient"
    assert names(contrast(-np.inf, np.inf)).verdict == "failed"
    assert names().verdict == "insufficient"
    # tested, and not significant: too little evidence, while a difference that is certain fails
    assert names(contrast(-0.2, 0.2).model_copy(update={"p_holm": 0.5})).verdict == "insufficient"
    assert names(contrast(0.05, 0.2).model_copy(update={"p_holm": 0.01})).verdict == "failed"


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
    section = gates_section()
    settings = Settings.read(tmp_path, {}).with_values(gates={"win_rate": {"least": 0.6}})
    limits: Any = settings.section("gates", section)
    assert limits.win_rate.least == 0.6
    assert limits.win_rate.min_prompts == WinRateLimits().min_prompts
    assert limits.facts == FactsLimits()
    with pytest.raises(ConfigurationError, match="leest"):
        settings.with_values(gates={"win_rate": {"leest": 0.6}}).section("gates", section)
    with pytest.raises(ValidationError):
        section.model_validate({"facts": {"margin": 2}})


def test_two_rows_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.audits.table.AUDITS", (*AUDITS, facts.AUDIT))
    with pytest.raises(ConfigurationError, match="two rows of the table of audits are named 'facts'"):
        audits()
