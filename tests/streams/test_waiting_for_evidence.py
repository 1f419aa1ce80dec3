"""A requested run whose gates could not pass for lack of evidence waits, says for what, and is frozen when the evidence is there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.artifacts import Artifacts
from storage.events import DatasetFrozen, Event, TrainingRequested
from storage.settings import Settings
from storage.snapshots.evidence import Evidence, count_evidence
from storage.snapshots.snapshot import open_snapshot
from storage.warehouse.warehouse import Warehouse
from streams.runs import fold
from streams.stations.freeze import Shortage, freeze_next, needs_of, shortage
from streams.stations.trigger import RunPlan, by_hand
from streams.versions import Versions
from tests.storage.facts import Log, apply, features, judgment, pair, reply
from trainers.audits.audit import Needs

LIMITS = {"min_judgments": 3, "min_recruiters": 2, "min_prompts": 4}


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(tmp_path / "warehouse.duckdb") as opened:
        opened.claim_epoch(1, published=0)
        yield opened


def request_of(artifacts: Artifacts, home: Path, through: int, **evaluation: int) -> TrainingRequested:
    settings = Settings.read(home, {}).with_values(gates={"win_rate": LIMITS}, evaluation=evaluation)
    return by_hand(RunPlan.of(settings, "dpo", artifacts), 1, through)


def test_the_words_name_only_what_is_short() -> None:
    needed = Needs(prompts=800, judgments=120, recruiters=8)
    assert shortage(Evidence(900, 67, 9), needed) == "waiting for evidence: 67 of 120 evaluation judgments"
    assert shortage(Evidence(12, 67, 9), needed) == "waiting for evidence: 67 of 120 evaluation judgments, 12 of 800 evaluation prompts"
    assert shortage(Evidence(800, 120, 8), needed) is None


def test_no_run_waits_for_more_prompts_than_a_trial_takes(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    assert needs_of(request_of(artifacts, tmp_path, 1), artifacts) == Needs(prompts=4, judgments=3, recruiters=2)
    assert needs_of(request_of(artifacts, tmp_path, 1, prompts=2), artifacts).prompts == 2
    unknown = request_of(artifacts, tmp_path, 1).model_copy(update={"settings": "0" * 64})
    assert needs_of(unknown, artifacts) == Needs()


def test_a_run_waits_and_is_frozen_by_itself_with_what_has_arrived_since(warehouse: Warehouse, tmp_path: Path) -> None:
    artifacts, log = Artifacts(str(tmp_path / "artifacts")), Log()

    def arrive(*numbers: int) -> None:
        events: list[Event] = []
        for n in numbers:
            events += [reply(n, stratum="evaluation"), pair(n, stratum="evaluation"), features(n), judgment(n, recruiter=f"r-{n % 2}")]
        apply(warehouse, log, *events)

    arrive(1, 2)
    request = request_of(artifacts, tmp_path, warehouse.last_sequence)
    runs = fold([request])
    found = freeze_next(runs, Versions(), warehouse, artifacts, tmp_path / "freezing")
    assert found == Shortage(request.run_id, "waiting for evidence: 2 of 3 evaluation judgments, 2 of 4 evaluation prompts")
    arrive(3, 4)
    frozen = freeze_next(runs, Versions(), warehouse, artifacts, tmp_path / "freezing")
    assert isinstance(frozen, DatasetFrozen)
    snapshot = open_snapshot(artifacts.get(frozen.snapshot))
    counted = count_evidence(warehouse, through_sequence=snapshot.manifest.through_sequence, sources=request.sources)
    assert counted == Evidence(snapshot.prompts.num_rows, snapshot.preferences.num_rows, 2) == Evidence(4, 4, 2)
