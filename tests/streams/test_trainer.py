"""Trainers on one log: a run is worked on once, resumed after a restart, taken over when the lease expires, and given up after failures."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import ArtifactError, DataRefused, Overloaded
from storage.events import Event, ModelEvaluated, RunClaimed, TrainingFailed, TrainingProgress, now
from storage.events.wire import decode
from streams.bus.protocol import Bus, records_of
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import PROGRESS, VERSIONS
from streams.child import Progress
from streams.runs import ATTEMPTS
from streams.stations import heartbeat
from streams.stations.heartbeat import Heartbeat
from streams.stations.train import Outcome, Train, Trainer, Work
from streams.trainer import _identity
from streams.versions import version_name
from tests.streams.bus_contract import everything
from tests.streams.examples import evaluated, sha
from tests.streams.test_runs import claim, frozen, progressed, request, run_id

TRAINED = Outcome(version_name(sha("one")), sha("one"), sha("report"), evaluated("one").gates, "passed")


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SQLiteBus]:
    with SQLiteBus(tmp_path / "bus.sqlite") as opened:
        opened.publish(records_of([request(1), frozen(1)]), timeout=5)
        yield opened


def trainer(bus: Bus, home: Path, train: Train, name: str = "trainer-1", stop: threading.Event | None = None) -> Trainer:
    return Trainer(bus, home, name, train, stop or threading.Event())


def steps(*stations: Trainer, times: int = 6) -> None:
    for _ in range(times):
        for station in stations:
            station.step(0)


def on(bus: Bus, *kinds: type[Event]) -> list[Event]:
    return [event for entry in everything(bus, PROGRESS.name, VERSIONS.name) if isinstance(event := decode(entry.value), kinds)]


def work_done(work: Work, progress: Progress) -> Outcome:
    for stage in ("check", "train"):
        progress(stage, 1, 2, {"loss": 0.5, "margin": float("nan")}, {})
    return TRAINED


def test_a_frozen_run_is_claimed_worked_on_and_its_model_published_once(bus: SQLiteBus, tmp_path: Path) -> None:
    folders: list[bool] = []

    def train(work: Work, progress: Progress) -> Outcome:
        folders.append(work.folder.is_dir())
        return work_done(work, progress)

    steps(trainer(bus, tmp_path, train))
    assert folders == [True]
    (evaluated,) = on(bus, ModelEvaluated)
    assert isinstance(evaluated, ModelEvaluated)
    assert (evaluated.run_id, evaluated.version, evaluated.verdict, evaluated.champion) == (run_id(1), TRAINED.version, "passed", "base")
    assert len(on(bus, RunClaimed)) == 1
    last = on(bus, TrainingProgress)[-1]
    assert isinstance(last, TrainingProgress)
    assert (last.stage, last.step, last.metrics) == ("train", 1, {"loss": 0.5})


def test_the_folder_of_a_run_is_kept_while_it_may_resume_and_removed_when_it_has_ended(
    bus: SQLiteBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.stations.train.RETRY_BACKOFF", 0.0)
    (tmp_path / "runs" / str(run_id(7))).mkdir(parents=True)  # of another log
    kept: list[bool] = []

    def fail(work: Work, progress: Progress) -> Outcome:
        kept.append((work.folder / "sample.json").exists())
        (work.folder / "sample.json").write_text('["Dear Rosa Marchetti"]')
        raise ArtifactError("the snapshot is not in this store")

    steps(trainer(bus, tmp_path, fail), times=40)
    assert kept == [False] + [True] * (ATTEMPTS - 1)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [str(run_id(7))]
    bus.publish(records_of([request(2), frozen(2)]), timeout=5)
    steps(trainer(bus, tmp_path, work_done))
    assert len(on(bus, ModelEvaluated)) == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [str(run_id(7))]


def test_of_two_trainers_that_claim_the_first_on_the_log_works(bus: SQLiteBus, tmp_path: Path) -> None:
    worked: list[str] = []

    def train_as(name: str) -> Train:
        def train(work: Work, progress: Progress) -> Outcome:
            worked.append(name)
            return work_done(work, progress)

        return train

    one, two = (trainer(bus, tmp_path / name, train_as(name), name) for name in ("trainer-1", "trainer-2"))
    steps(two, one, times=2)  # both have read the log, and then both claim
    steps(one, two)
    assert worked == ["trainer-2"]
    assert len(on(bus, ModelEvaluated)) == 1


def test_a_restarted_trainer_resumes_its_own_claim_at_once(bus: SQLiteBus, tmp_path: Path) -> None:
    bus.publish(records_of([claim("trainer-1", 1, 0).model_copy(update={"occurred_at": now()})]), timeout=5)
    steps(trainer(bus, tmp_path, work_done, "trainer-2"))
    assert on(bus, ModelEvaluated) == []
    steps(trainer(bus, tmp_path, work_done, "trainer-1"))
    assert len(on(bus, ModelEvaluated)) == 1
    assert len(on(bus, RunClaimed)) == 1


def test_a_run_without_progress_for_a_minute_is_taken_over(bus: SQLiteBus, tmp_path: Path) -> None:
    bus.publish(records_of([claim("trainer-1", 1, 0), progressed(1, 1)]), timeout=5)  # long ago
    steps(trainer(bus, tmp_path, work_done, "trainer-2"))
    assert [(c.trainer, c.attempt) for c in on(bus, RunClaimed) if isinstance(c, RunClaimed)] == [("trainer-1", 1), ("trainer-2", 2)]
    assert len(on(bus, ModelEvaluated)) == 1


def test_a_superseded_trainer_publishes_no_result(bus: SQLiteBus, tmp_path: Path) -> None:
    def slow(work: Work, progress: Progress) -> Outcome:
        # as if this machine was suspended, the lease expired, and another trainer took over
        bus.publish(records_of([claim("trainer-2", 2, 1e9)]), timeout=5)
        return TRAINED

    steps(trainer(bus, tmp_path, slow), times=3)
    assert on(bus, ModelEvaluated) == []


def test_a_refused_dataset_ends_the_run_with_the_reason(bus: SQLiteBus, tmp_path: Path) -> None:
    def refuse(work: Work, progress: Progress) -> Outcome:
        progress("check", 0, 1, {}, {})
        raise DataRefused("the expectation choices_are_known failed")

    steps(trainer(bus, tmp_path, refuse))
    (failed,) = on(bus, TrainingFailed)
    assert isinstance(failed, TrainingFailed)
    assert (failed.stage, failed.reason, failed.final) == ("check", "the expectation choices_are_known failed", True)


def test_other_failures_are_retried_a_limited_number_of_times(bus: SQLiteBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def miss(work: Work, progress: Progress) -> Outcome:
        raise ArtifactError("the snapshot is not in this store")

    monkeypatch.setattr("streams.stations.train.RETRY_BACKOFF", 0.0)
    steps(trainer(bus, tmp_path, miss), times=40)
    failures = [event for event in on(bus, TrainingFailed) if isinstance(event, TrainingFailed)]
    assert [failure.attempt for failure in failures] == list(range(1, ATTEMPTS + 1))
    assert [failure.final for failure in failures] == [False] * (ATTEMPTS - 1) + [True]


def test_an_audit_that_raises_is_named_retried_and_never_gives_a_verdict(
    bus: SQLiteBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(work: Work, progress: Progress) -> Outcome:
        progress("evaluate", 3, 13, {}, {})
        error = ZeroDivisionError("division by zero")
        error.add_note("in the audit length")
        error.add_note("Traceback (most recent call last):\n  File ...")  # as a child process adds it
        raise error

    monkeypatch.setattr("streams.stations.train.RETRY_BACKOFF", 0.0)
    steps(trainer(bus, tmp_path, crash), times=40)
    failures = [event for event in on(bus, TrainingFailed) if isinstance(event, TrainingFailed)]
    assert {(each.stage, each.reason) for each in failures} == {("evaluate", "ZeroDivisionError: division by zero (in the audit length)")}
    assert [each.final for each in failures] == [False] * (ATTEMPTS - 1) + [True]
    assert on(bus, ModelEvaluated) == []


def test_a_full_disk_does_not_count_as_a_failed_attempt(bus: SQLiteBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.stations.train.RETRY_BACKOFF", 0.0)
    full = [True] * (ATTEMPTS + 1)

    def train(work: Work, progress: Progress) -> Outcome:
        if full and full.pop():
            raise OSError(errno.ENOSPC, "No space left on device")
        return work_done(work, progress)

    one = trainer(bus, tmp_path, train)
    one.step(0)
    for _ in range(ATTEMPTS + 1):
        with pytest.raises(Overloaded, match=f"run {run_id(1)}: the disk is full"):
            one.step(0)
    one.step(0)
    assert len(on(bus, ModelEvaluated)) == len(on(bus, RunClaimed)) == 1
    assert on(bus, TrainingFailed) == []


def test_a_run_that_kills_every_trainer_is_given_up(bus: SQLiteBus, tmp_path: Path) -> None:
    bus.publish(records_of([claim(f"trainer-{i}", i, 100 * i) for i in range(1, ATTEMPTS + 1)]), timeout=5)
    steps(trainer(bus, tmp_path, work_done, "trainer-9"))
    (failed,) = on(bus, TrainingFailed)
    assert isinstance(failed, TrainingFailed)
    assert failed.final
    assert on(bus, ModelEvaluated) == []


def test_a_stop_interrupts_at_the_next_step_and_the_run_stays_open(bus: SQLiteBus, tmp_path: Path) -> None:
    stop, stages = threading.Event(), []

    def train(work: Work, progress: Progress) -> Outcome:
        for stage in ("check", "train", "sample"):
            progress(stage, 0, 1, {}, {})
            stages.append(stage)
            if stage == "train":
                stop.set()
        return TRAINED

    steps(trainer(bus, tmp_path, train, stop=stop), times=3)
    assert stages == ["check", "train"]
    assert on(bus, ModelEvaluated, TrainingFailed) == []
    steps(trainer(bus, tmp_path, work_done))
    assert len(on(bus, ModelEvaluated)) == 1


def test_the_heartbeat_continues_while_a_stage_reports_nothing(bus: SQLiteBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "MAX_INTERVAL", 0.02)
    monkeypatch.setattr(heartbeat, "MIN_INTERVAL", 0.0)
    (partition,) = bus.bounds([PROGRESS.name])
    with Heartbeat(bus, run_id(1), 1, "product", lambda: None) as beat:
        beat.progress("check", 1, 1, {}, {"data_docs": "d" * 64})
        beat.progress("train", 3, 9, {}, {})
        seen = -1
        while seen < 5:
            found = bus.read({partition: seen}, limit=10, wait=10)
            assert found
            seen = found[-1].offset
    words = [event for event in on(bus, TrainingProgress) if isinstance(event, TrainingProgress)]
    assert words[-1].step == 3
    assert words[-1].artifacts == {"data_docs": "d" * 64}, "the event that first named it may not have been published"


def test_trainer_names_are_unique_and_stable_across_restarts(tmp_path: Path) -> None:
    with _identity(tmp_path) as first, _identity(tmp_path) as second:
        assert first != second
    with _identity(tmp_path) as again:
        assert again == first
