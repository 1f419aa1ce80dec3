"""The report on a head: prequential figures, calibration, agreement across orders of showing, and each recruiter's line."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.trainers.preferences import EMBEDDING, changed, drawn, preference_in
from trainers.data.preference import Entry
from trainers.reward.head_report import HeadReport, _bin, head_report
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings

D = 12
SETTINGS = HeadSettings(objectives=("helpful", "safe"))


def learnt(entries: list[Entry]) -> Head:
    return reconcile(learn_all(new_head(SETTINGS, EMBEDDING, D, ("product",)), entries))


@pytest.fixture(scope="module")
def report() -> HeadReport:
    entries = [changed(each, objectives={"helpful": preference_in(each).choice or "tie"}) for each in drawn(300, D, seed=5)]
    return head_report(learnt(entries))


def test_every_question_has_a_report_answered_or_not(report: HeadReport) -> None:
    overall, helpful, safe = report.questions
    assert [each.question for each in report.questions] == ["overall", "helpful", "safe"]
    assert overall.judgments == helpful.judgments == 300
    assert (safe.judgments, safe.accuracy, safe.calibration, safe.recruiters) == (0, None, (), ())
    assert HeadReport.model_validate_json(report.model_dump_json()) == report


def test_calibration_holds_every_decisive_answer_once(report: HeadReport) -> None:
    overall = report.questions[0]
    assert sum(each.answers for each in overall.calibration) == overall.decisive
    right = sum(each.right * each.answers for each in overall.calibration) / overall.decisive
    assert right == pytest.approx(overall.accuracy)
    assert all(0.5 <= each.predicted <= 1 and 0 <= each.low <= each.right <= each.high <= 1 for each in overall.calibration)


def test_a_bins_interval_is_wilsons() -> None:
    found, expected = _bin(np.full(40, 0.8), np.repeat([1.0, 0.0], [31, 9])), binomtest(31, 40).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_agreement_does_not_depend_on_the_side_that_was_shown_first() -> None:
    """Two recruiters judge each pair alike, one with A shown first and one with B."""
    once = drawn(80, D, seed=6)
    entries = []
    for n, each in enumerate(once):
        pair = preference_in(each).pair_id
        entries += [
            replace(changed(each, pair_id=pair, recruiter="x", shown_first="A"), sequence=2 * n + 1),
            replace(changed(each, pair_id=pair, recruiter="y", shown_first="B"), sequence=2 * n + 2),
        ]
    overall = head_report(learnt(entries)).questions[0]
    assert (overall.repeats, overall.same_choice) == (80, 1.0)
    assert overall.alpha == pytest.approx(1.0)
    assert {each.name: each.agrees for each in overall.recruiters} == {"x": 1.0, "y": 1.0}


def test_an_empty_head_has_a_report() -> None:
    assert [each.judgments for each in head_report(new_head(SETTINGS, EMBEDDING, D, ("product",))).questions] == [0, 0, 0]
