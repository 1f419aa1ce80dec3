"""The audit of the judgments: a planted interaction is found, none is invented, and thin evidence is insufficient."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks.gates.judgments import agreement, planted_seeds
from benchmarks.gates.world_judgments import Judged, judged
from simulation.world import World
from storage.events import Message
from trainers.audits.judgments.bias import JudgmentLimits, gate, rows
from trainers.audits.judgments.candidate_groups import candidate_groups, first_name, groups_of_names
from trainers.audits.judgments.measurement import audit_judgments
from trainers.audits.statistics.interaction import RIDGE, jackknifed_logit
from trainers.audits.statistics.multiplicity import holm

LIMITS = JudgmentLimits()
PLANTED = planted_seeds(0, 1)[0]  # its weight of dated next steps is at least 1


@pytest.fixture(scope="module")
def planted() -> Judged:
    return judged(World(PLANTED, plant=True), PLANTED)


@pytest.fixture(scope="module")
def fair() -> Judged:
    return judged(World(PLANTED), PLANTED)


def test_recruiters_who_reverse_a_taste_for_one_group_are_found(planted: Judged) -> None:
    weight = World(PLANTED).taste.weights[1]
    assert abs(weight) >= 1
    found = audit_judgments(planted.preferences, planted.groups)
    result = gate(found, LIMITS)
    assert result.verdict == "failed"
    assert "a dated next step" in result.words
    assert "Holm" in result.words
    one = next(each for each in found.interactions if each.attribute == "dated")
    sign = 1 if one.group == "north" else -1
    assert one.interval.figure * sign * weight > 0  # of the sign that was planted: less of the taste for "south"


def test_the_same_recruiters_without_the_plant_pass_with_a_statement_of_power(fair: Judged) -> None:
    found = audit_judgments(fair.preferences, fair.groups)
    result = gate(found, LIMITS)
    assert result.verdict == "passed"
    assert "would have been found" in result.words
    assert "refusal" in result.words  # replies to one prompt hardly ever differ in it: said, not hidden
    assert len(rows(found)) == len(found.interactions) > 0


def test_few_judgments_recruiters_or_members_of_a_group_are_insufficient(planted: Judged) -> None:
    few = audit_judgments(planted.preferences[:150], planted.groups)
    assert gate(few, LIMITS).verdict == "insufficient"
    three = [each for each in planted.preferences if each.recruiter in {"recruiter-01", "recruiter-02", "recruiter-03"}]
    assert gate(audit_judgments(three, planted.groups), JudgmentLimits(min_judgments=1)).verdict == "insufficient"
    alone = [replace(each, recruiter="only") for each in planted.preferences]
    one = gate(audit_judgments(alone, planted.groups), JudgmentLimits(min_recruiters=1))
    assert (one.verdict, one.low) == ("insufficient", None)


def test_without_groups_nothing_passes_unless_the_settings_say_so(fair: Judged) -> None:
    nothing = audit_judgments(fair.preferences, {})
    assert nothing.unknown == len(fair.preferences)
    assert gate(nothing, LIMITS).verdict == "insufficient"
    assert gate(nothing, JudgmentLimits(min_judgments=0)).verdict == "passed"
    assert gate(audit_judgments([], {}), LIMITS).verdict == "insufficient"


def test_a_group_of_three_people_is_named_and_not_tested(fair: Judged) -> None:
    odd = {each.conversation_id for each in fair.preferences[:3]}
    groups = {key: {"race_ethnicity": "islander"} if key in odd else value for key, value in fair.groups.items()}
    found = audit_judgments(fair.preferences, groups)
    assert found.small == ("islander (n = 3)",)
    assert "islander (n = 3)" in gate(found, LIMITS).words
    assert {each.group for each in found.interactions} == {"north", "south"} - {found.interactions[0].reference}


def test_a_group_is_read_from_the_facts_only_where_none_is_recorded() -> None:
    def prompt(system: str) -> Sequence[Message]:
        return (Message(role="system", content=system), Message(role="user", content="Candidate: Emily"))

    emily = prompt("Answer by these facts.\nCandidate: Ms. Emily Jones\nRole: Cook")
    assert first_name(emily) == "Emily"
    assert first_name(prompt("No facts.")) is None
    names = {"emily": {"sex": "female"}}
    assert candidate_groups([("1", emily)], {}, names) == {"1": {"sex": "female"}}
    assert candidate_groups([("1", emily)], {"1": {"sex": "male"}}, names) == {"1": {"sex": "male"}}
    assert candidate_groups([("1", emily)], {"2": {"sex": "male"}}, names) == {}
    assert {group["sex"] for group in groups_of_names().values()} == {"female", "male"}


def test_holm_gives_the_adjusted_values_of_a_worked_example() -> None:
    # by hand: .005 * 4, .011 * 3, max(.033, .02 * 2), max(.04, .04 * 1)
    assert holm([0.02, 0.005, 0.04, 0.011]) == pytest.approx([0.04, 0.02, 0.04, 0.033])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_regression_agrees_with_scipys_minimum_and_the_jackknife_with_its_formula() -> None:
    rng = np.random.default_rng(0)
    x, position = rng.normal(size=(600, 2)), rng.choice([-1.0, 1.0], 600)
    clusters = rng.integers(6, size=600)
    y = (rng.random(600) < expit(x @ [1.0, -0.5] + 0.3 * position)).astype(float)
    found = jackknifed_logit(x, position, y, clusters)
    assert found.freedom == 5
    assert found.sensitivity.mean() == pytest.approx(1)
    scale = np.append(np.sqrt((x**2).mean(axis=0)), 1.0)
    design = np.column_stack([x * found.sensitivity[clusters][:, None], position])

    def best(kept: np.ndarray) -> np.ndarray:
        def loss(w: np.ndarray) -> float:
            z = design[kept] @ w
            return float((np.logaddexp(0, z) - y[kept] * z).sum() + RIDGE / 2 * ((w * scale) ** 2).sum())

        return np.asarray(minimize(loss, np.zeros(3), tol=1e-12).x)

    whole = best(np.ones(600, bool))
    assert found.figures == pytest.approx(whole[:2], abs=1e-4)
    without = np.stack([best(clusters != one) for one in range(6)])
    assert found.errors == pytest.approx(np.sqrt(5 / 6 * ((without - whole) ** 2).sum(axis=0))[:2], abs=1e-4)


def test_a_recruiter_who_clicks_at_random_gets_a_small_sensitivity() -> None:
    rng = np.random.default_rng(1)
    x, clusters = rng.normal(size=(1_000, 1)), np.arange(1_000) % 5
    y = (rng.random(1_000) < expit(2 * x[:, 0] * (clusters > 0))).astype(float)
    found = jackknifed_logit(x, np.zeros(1_000), y, clusters)
    assert found.sensitivity[0] < 0.35 < 0.8 < found.sensitivity[1:].min()


def test_one_recruiter_leaves_the_error_unknown() -> None:
    found = jackknifed_logit(np.ones((4, 1)), np.zeros(4), np.ones(4), np.zeros(4))
    assert math.isfinite(found.figures[0])  # bounded although one side always wins
    assert found.errors[0] == math.inf


def test_the_readers_agree_with_the_worlds_truth_on_unseen_names_and_roles() -> None:
    assert min(agreement("held_out", 200).values()) >= 0.98
