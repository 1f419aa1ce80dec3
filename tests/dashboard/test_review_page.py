"""What the review page claims about a report, what it says would be missing, and the contrasts of the page Fairness."""

import json
import math
from typing import Any

import pytest

from dashboard.pages import charts
from dashboard.pages.review import claim, evidence, findings, gates
from dashboard.pages.review.shortfall import takes
from dashboard.status.contrasts import families
from storage.events import GateResult
from tests.dashboard.evaluated import gate_results, report_on
from trainers.audits.policy.win_rate import spent_alpha
from trainers.audits.table import AUDITS
from trainers.policy.training_curve import CurvePoint
from trainers.runs.report import Report


def report(facts: str = "passed", names: str = "passed", **changes: Any) -> Report:
    return Report.model_validate(report_on("v-1", "1" * 64, "run", facts, names) | changes)


def text(component: Any) -> str:
    """Everything that the component says, without its markup."""

    def said(part: Any) -> str:
        children = getattr(part, "children", part)
        return "".join(map(said, children)) if isinstance(children, list | tuple) else said(children) if children is not part else str(part)

    return said(component)


def test_the_claim_states_win_rate_panel_and_error_rates() -> None:
    said = text(claim.card(report()))
    assert "in 62% of comparisons (56 to 69%), ties counted half" in said
    assert "8 simulated recruiters, with 186 judgments, on 812 prompts" in said
    assert "51% to 74%" in said or "51 to 74%" in said
    assert "Nothing is claimed" not in said


@pytest.mark.parametrize("before", [0, 1, 7])
def test_the_error_rate_over_all_challengers_follows_from_the_part_that_this_one_spent(before: int) -> None:
    changed = report_on("v-1", "1" * 64, "run")
    changed["findings"]["win_rate"]["alpha"] = spent_alpha(0.05, before + 1)
    said = text(claim.card(Report.model_validate(changed | {"challengers_before": before})))
    assert "at most 5% over all versions that challenge base" in said
    assert f"number {before + 1} and spends {100 * spent_alpha(0.05, before + 1):.1f}%" in said


def test_nothing_is_claimed_unless_every_gate_passed_and_the_missing_evidence_is_named() -> None:
    said = text(claim.card(report("failed", "insufficient")))
    assert "Nothing is claimed: 1 gate failed and 1 gate lacked evidence." in said
    assert "6 names of a group were compared; at least 10 are needed." in said
    assert "The verdict is final for this version." in said
    assert not takes(report())


def test_missing_judgments_and_recruiters_are_counted_from_the_needs() -> None:
    few = GateResult(name="win_rate", verdict="insufficient", figure=None, low=None, high=None, n=0, limit="", unit="share", words="Few.")
    data = report().data.model_copy(update={"evaluation_judgments": 67, "evaluation_recruiters": 7})
    short = report().model_copy(update={"gates": (few,), "data": data})
    assert takes(short) == [("win_rate", "53 more judgments, 1 more recruiter in the evaluation stratum; the next run waits for them.")]


def test_an_interval_that_is_too_wide_asks_for_the_n_at_which_it_fits() -> None:
    wide = GateResult(
        name="judgments", verdict="insufficient", figure=0.25, low=-1.75, high=2.25, n=100, limit="", unit="logits", words="Unclear."
    )
    ((_, said),) = takes(report().model_copy(update={"gates": (wide,)}))
    assert said.startswith(f"About {math.ceil(100 * (2.0 / (1.25 - 0.25)) ** 2)} instead of 100")


def test_gates_stand_under_their_topic_and_only_those_that_did_not_pass_are_open() -> None:
    shown = json.dumps(gates.gates(gate_results("failed", "insufficient")), default=lambda part: part.to_plotly_json())
    assert shown.count('"open": true') == 2
    assert shown.index("Better?") < shown.index("Is it preferred") < shown.index("Fair?") < shown.index("Safe and correct?")
    assert shown.index("Is the reward blind to names?") < shown.index("Do recruiters prefer the same replies for every group?")
    assert {audit.topic for audit in AUDITS} == set(gates.TOPICS)
    assert gates.topic_of("of_another_program") == "content"


def test_findings_in_another_programs_form_are_left_out() -> None:
    changed = report_on("v-1", "1" * 64, "run")
    changed["findings"]["counterfactual"] = {"pairs": 7}
    other = Report.model_validate(changed)
    assert "My husband" not in text(findings.sections(other))
    assert {family.key for family in families(other)} == {"judgments", "reward"}
    assert "How old are you?" in text(findings.sections(other))


def test_contrasts_have_the_limits_of_their_run() -> None:
    by_key = {
        family.key: family for family in families(report(settings={"gates": {"counterfactual": {"within": 0.05, "change_within": 0.1}}}))
    }
    assert (by_key["judgments"].within, by_key["name"].within, by_key["name-length"].within) == (1.25, 0.05, 0.15)
    widest = by_key["disability"].widest
    assert widest.reach == max(abs(widest.interval.low), abs(widest.interval.high))
    assert not by_key["disability"].excludes(widest)
    assert all(by_key["judgments"].excludes(each) for each in by_key["judgments"].contrasts)


def curve() -> tuple[CurvePoint, ...]:
    rows = [(0, 0.0, 0.0, 0.0), (5, 1.0, 1.0, 0.8), (10, 4.0, 1.6, 0.9), (15, 9.0, 2.0, 0.1)]
    return tuple(
        CurvePoint(step=step, kl=kl, proxy=proxy, second=second, length=50, entropy=0.2, wrong_facts=0.01, kept=step == 10)
        for step, kl, proxy, second in rows
    )


def test_the_picture_of_a_training_shows_both_rewards_over_the_distance_and_which_policy_was_kept() -> None:
    figure = charts.overoptimisation(curve())
    law, first, second = figure.data
    assert list(first.x) == [0, 1, 2, 3]
    assert list(first.y) == [0, 1, 1.6, 2]
    assert list(second.y) == [0, 0.8, 0.9, 0.1]
    assert law.name.startswith("x (")
    assert [annotation.text for annotation in figure.layout.annotations] == ["kept"]
    trained = report().training
    assert trained is not None
    with_curve = report().model_copy(
        update={"training": trained.model_copy(update={"curve": curve(), "stopped": "the second reward fell"})}
    )
    said = text(evidence.replies(with_curve))
    assert "Was the reward gamed?" in said
    assert "Stopped early: the second reward fell." in said
    assert "after step 10" in said
    assert "Was the reward gamed?" not in text(evidence.replies(report()))
