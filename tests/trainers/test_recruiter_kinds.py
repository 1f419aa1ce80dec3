"""Recruiters who answer at random, have another taste or follow the others are told apart, and those with few judgments are left alone."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.reward.noise import MINORITY, OPPOSITE, RANDOM, entries_of, panel_figures
from tests.trainers.preferences import changed, preference_in
from trainers.audits.simulation.panels import DIMENSIONS, Panel
from trainers.data.preference import Entry
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings
from trainers.reward.recruiter_kinds import Kind, _Answers, _without, recruiter_reports

SETTINGS = HeadSettings(objectives=("helpful",))


def learnt(entries: list[Entry]) -> Head:
    return reconcile(learn_all(new_head(SETTINGS, "simulated", DIMENSIONS, ("product",)), entries))


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    rng = np.random.default_rng(3)
    drawn = Panel.draw(rng, shared=1.0, own=0.2, least=8)
    panel = Panel(drawn.tastes[:8], drawn.cuts[:8], drawn.pull[:8], np.full(8, 0.05))
    return entries_of(panel.judge(rng, 640))


def test_each_kind_is_found_in_a_simulated_panel() -> None:
    _, kinds = panel_figures(seed=500)
    assert [kinds[k] for k in RANDOM] == [Kind.RANDOM] * 3
    assert kinds[OPPOSITE] is Kind.OPPOSITE
    assert kinds[MINORITY] is not Kind.RANDOM
    assert {kinds[k] for k in range(MINORITY + 1, 12)} == {Kind.FOLLOWS}


def test_with_few_judgments_nobody_is_called_careless(entries: list[Entry]) -> None:
    rng = np.random.default_rng(4)
    new = [changed(each, recruiter="new", choice=rng.choice(["A", "B"]), strength=1) for each in entries[:6]]
    head = learnt([*entries, *(replace(each, sequence=len(entries) + 1 + n) for n, each in enumerate(new))])
    reports = {each.name: each for each in recruiter_reports(head)}
    assert reports["new"].judgments == 6
    assert reports["new"].kind in (Kind.UNCLEAR, Kind.OPPOSITE, Kind.OWN_TASTE)
    assert {each.kind for name, each in reports.items() if name != "new"} == {Kind.FOLLOWS}


def test_the_weights_without_a_recruiter_are_near_those_of_a_head_that_never_saw_the_judgments(entries: list[Entry]) -> None:
    head = learnt(entries)
    answers = _Answers.of(head, "overall")
    left_out, _ = _without(answers, answers.names == "r-03")
    others = [each for each in entries if preference_in(each).recruiter != "r-03"]
    never = learnt([replace(each, sequence=n) for n, each in enumerate(others, start=1)])
    moved, error = np.linalg.norm(head.overall.mean - never.overall.mean), np.linalg.norm(left_out - never.overall.mean)
    assert error < 0.35 * moved  # the sites of the others stay where they were


def test_a_question_that_nobody_answers_has_no_reports(entries: list[Entry]) -> None:
    assert recruiter_reports(learnt(entries[:40]), "helpful") == []
    assert recruiter_reports(new_head(SETTINGS, "simulated", DIMENSIONS, ("product",))) == []


def test_a_recruiter_who_only_ties_and_one_with_a_single_judgment_have_a_report(entries: list[Entry]) -> None:
    some = [changed(each, recruiter="ties", choice="tie", strength=None) if n % 8 == 0 else each for n, each in enumerate(entries)]
    some[1] = changed(some[1], recruiter="once")
    reports = {each.name: each for each in recruiter_reports(learnt(some))}
    assert (reports["once"].judgments, reports["once"].own_gain) == (1, 0.0)
    assert (reports["ties"].decisive, reports["ties"].judgments) == (0, 80)
    assert all(np.isfinite([each.evidence, each.expected, each.slope_high]).all() for each in reports.values())
