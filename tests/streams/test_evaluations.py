"""An evaluation counts if its run was requested, frozen and claimed, with every required gate once and a report that agrees."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from storage.artifacts import Artifacts
from storage.events import Event, ModelEvaluated, ReviewDecided, Verdict, new_id
from streams.evaluations import RunArtifacts, lives_of
from streams.versions import Versions, promotions, version_name
from tests.streams.examples import evaluated, gate, of_its_run, sha
from trainers.audits.table import gates_section
from trainers.runs.frozen import FIRST_REQUIRED as REQUIRED
from trainers.runs.frozen import FrozenSettings

V1 = version_name(sha("one"))


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(str(tmp_path / "artifacts"))


def lives(artifacts: Artifacts, *events: Event) -> Versions:
    return lives_of(events, RunArtifacts(artifacts))


def reason(artifacts: Artifacts, *events: Event) -> str:
    found = lives(artifacts, *events)
    assert not found.versions
    (refused,) = found.illegal
    return refused.reason


def test_an_evaluation_of_its_run_counts_whatever_order_the_topics_are_read_in(artifacts: Artifacts) -> None:
    events = of_its_run(evaluated("one"), artifacts)
    for order in itertools.permutations(events):
        assert lives(artifacts, *order).versions[V1].status == "awaiting review"


@pytest.mark.parametrize(
    ("left_out", "words"), [(0, "was never asked for"), (1, "was never given any data"), (2, "was never claimed by a trainer")]
)
def test_without_a_run_that_was_requested_frozen_and_claimed_it_does_not_count(artifacts: Artifacts, left_out: int, words: str) -> None:
    events = of_its_run(evaluated("one"), artifacts)
    assert words in reason(artifacts, *(event for place, event in enumerate(events) if place != left_out))


def test_the_gates_that_the_first_runs_required_are_still_run() -> None:
    assert set(REQUIRED) == {"win_rate", "kl_budget", "facts", "conduct", "name_contrast"}
    assert set(REQUIRED) <= set(gates_section().model_fields)


def with_gates(*names: str, verdicts: tuple[Verdict, ...] = ()) -> ModelEvaluated:
    passed: Verdict = "passed"
    results = [gate(verdict, name) for name, verdict in itertools.zip_longest(names, verdicts, fillvalue=passed)]
    return evaluated("one").model_copy(update={"gates": tuple(results)})


@pytest.mark.parametrize("missing", REQUIRED)
def test_each_required_gate_has_to_be_there(artifacts: Artifacts, missing: str) -> None:
    event = with_gates(*(name for name in REQUIRED if name != missing))
    assert reason(artifacts, *of_its_run(event, artifacts)) == f"required gates are missing: {missing}"


def test_an_unknown_gate_does_not_replace_the_required_ones(artifacts: Artifacts) -> None:
    assert reason(artifacts, *of_its_run(with_gates("x"), artifacts)) == f"required gates are missing: {', '.join(REQUIRED)}"


def test_a_repeated_gate_is_refused_and_an_additional_one_is_not(artifacts: Artifacts) -> None:
    assert "more than once: facts" in reason(artifacts, *of_its_run(with_gates(*REQUIRED, "facts"), artifacts))
    assert lives(artifacts, *of_its_run(with_gates(*REQUIRED, "diversity"), artifacts)).versions[V1].status == "awaiting review"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"run_id": str(new_id())}, "the run"),
        ({"version": "v-another"}, "the version"),
        ({"policy": sha("another")}, "the policy"),
        ({"policy": None}, "the policy"),
        ({"champion": "v-another"}, "the champion"),
        ({"champion_policy": sha("another")}, "the champion's policy"),
        ({"challengers_before": 9}, "the number of challengers before"),
        ({"gates": []}, "the gates"),
        ({"verdict": "failed"}, "the verdict"),
    ],
)
def test_an_evaluation_whose_report_disagrees_does_not_count(artifacts: Artifacts, said: dict[str, Any], words: str) -> None:
    assert reason(artifacts, *of_its_run(evaluated("one"), artifacts, otherwise=said)) == f"its report disagrees on {words}"


def test_an_evaluation_whose_report_is_invalid_or_missing_does_not_count_until_it_is_there(artifacts: Artifacts, tmp_path: Path) -> None:
    *run, event = of_its_run(evaluated("one"), artifacts)
    forged = event.model_copy(update={"report": artifacts.put_bytes(b'{"forged": true}')})
    assert "is not an evaluation report" in reason(artifacts, *run, forged)
    elsewhere = Artifacts(str(tmp_path / "elsewhere"))
    kept = RunArtifacts(elsewhere)
    assert "cannot be read" in lives_of([*run, event], kept).illegal[0].reason
    elsewhere.put(artifacts.get(event.report))
    assert lives_of([*run, event], kept).versions[V1].status == "awaiting review"


def test_the_runs_own_settings_say_which_gates_are_required(artifacts: Artifacts) -> None:
    settings = FrozenSettings(method="dpo", sections={"gates": {"facts": {"margin": 0.02}}}, required=("win_rate", "diversity"))
    few = with_gates("win_rate", "diversity")
    assert lives(artifacts, *of_its_run(few, artifacts, settings=settings)).versions[V1].status == "awaiting review"
    without = of_its_run(with_gates(*REQUIRED), artifacts, settings=settings)
    assert reason(artifacts, *without) == "required gates are missing: diversity"
    assert "required gates are missing" in reason(artifacts, *of_its_run(few, artifacts))  # a request of an older program


def test_a_report_with_other_settings_or_missing_settings_does_not_count(artifacts: Artifacts) -> None:
    settings = FrozenSettings(method="dpo", sections={"gates": {"facts": {"margin": 0.02}}}, required=REQUIRED)
    loose = {"gates": {"facts": {"margin": 1.0}}}
    run = of_its_run(evaluated("one"), artifacts, settings=settings, otherwise={"settings": loose})
    assert reason(artifacts, *run) == "its report disagrees on the settings"
    requested, *rest = of_its_run(evaluated("one"), artifacts, settings=settings)
    gone = requested.model_copy(update={"settings": sha("gone")})
    assert "the settings of its run cannot be read" in reason(artifacts, gone, *rest)


def test_it_must_be_judged_against_the_champion_of_the_runs_data(artifacts: Artifacts) -> None:
    requested, frozen, claimed, event = of_its_run(evaluated("one"), artifacts)
    other = frozen.model_copy(update={"champion": "v-another"})
    assert "is v-another" in reason(artifacts, requested, other, claimed, event)


def test_an_evaluation_that_does_not_count_cannot_be_approved_or_promoted(artifacts: Artifacts) -> None:
    *_, event = of_its_run(evaluated("one"), artifacts)
    approval = ReviewDecided(source="product", version=V1, decision="approve", reviewer="Grace", reason="looks fine")
    found = lives(artifacts, event, approval)
    assert promotions(found) == []
    assert found.champion == "base"
    assert len(found.illegal) == 2
