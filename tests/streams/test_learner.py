"""The learner on a log: no preference is missed or learnt twice, and every crossed threshold is published, whatever happens in between."""

import errno
import hashlib
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.artifacts import Artifacts
from storage.errors import OffsetLost, Overloaded, SchemaTooNew
from storage.events import (
    Event,
    EventQuarantined,
    PreferenceJoined,
    PreferenceRemoved,
    RewardUpdated,
    Source,
    TrainingRequested,
    derived_id,
)
from storage.events.wire import decode, encode
from storage.texts.texts import PLAIN, Texts
from streams.bus.protocol import Bus, Record, records_of
from streams.bus.resume import PARTITION
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import PREFERENCES, QUARANTINE, REWARD
from streams.stations.learner import BACKLOG_ENTRIES, INTERVAL, Learner
from streams.stations.settings import RetrainingRule
from streams.stations.trigger import on_reward_updated
from tests.profiles import examples
from tests.streams.bus_contract import everything
from tests.streams.examples import DIMENSION, PLAN, SmallEmbedder, claimed, joined, sha
from tests.streams.memory_bus import MemoryBus
from trainers.data.preference import Entry
from trainers.reward.online.checkpoint import parts_of
from trainers.reward.online.learn import Head, learn_all, load, new_head
from trainers.reward.online.settings import HeadSettings


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def learner(
    bus: Bus,
    folder: Path,
    clock: Callable[[], float],
    sources: Sequence[Source] = ("product",),
    artifacts: Artifacts | None = None,
    settings: HeadSettings | None = None,
    every: int | None = None,
    texts: Texts = PLAIN,
) -> Learner:
    return Learner(
        bus,
        folder,
        settings or HeadSettings(),
        embedding_hash=SmallEmbedder.hash,
        dimension=DIMENSION,
        sources=sources,
        artifacts=artifacts,
        every=every,
        texts=texts,
        clock=clock,
    )


def removed(sequence: int, removes: int) -> PreferenceRemoved:
    return PreferenceRemoved(source="product", epoch=1, sequence=sequence, removes=removes)


def publish(bus: Bus, *events: Event) -> None:
    bus.publish(records_of(events), timeout=1)


def updates(bus: Bus) -> list[RewardUpdated]:
    return [event for entry in everything(bus, REWARD.name) if isinstance(event := decode(entry.value), RewardUpdated)]


def mean_after(*events: Event) -> np.ndarray:
    preferences = [Entry.of(event) for event in events if isinstance(event, PreferenceJoined | PreferenceRemoved)]
    head = new_head(HeadSettings(), SmallEmbedder.hash, DIMENSION, ("product",))
    return learn_all(head, preferences).overall.mean


def test_it_learns_the_preferences_on_the_log_and_publishes_an_update(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    events = [claimed(1), *(joined(i) for i in range(1, 6))]
    publish(bus, *events)
    station = learner(bus, tmp_path, clock)
    station.step(0)
    (update,) = updates(bus)
    assert (update.sequence, update.judgments_before, update.judgments_seen) == (5, 0, 5)
    assert np.array_equal(station.head.overall.mean, mean_after(*events))
    (checkpoint,) = tmp_path.glob("*/head.safetensors")
    assert load(checkpoint).sequence == 5
    assert sha_of(checkpoint) == update.checkpoint


def test_on_a_full_disk_it_publishes_nothing_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus, clock = MemoryBus(), Clock()
    events = [claimed(1), *(joined(i) for i in range(1, 6))]
    publish(bus, *events)
    station = learner(bus, tmp_path, clock)

    def full(head: Head, path: Path) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as disk:
        disk.setattr("streams.stations.head_checkpoints.save_hashed", full)
        for _ in range(3):
            with pytest.raises(Overloaded, match="the disk is full"):
                station.step(0)
    assert updates(bus) == []
    station.step(0)
    (update,) = updates(bus)
    assert (update.sequence, update.judgments_before, update.judgments_seen) == (5, 0, 5)
    assert np.array_equal(station.head.overall.mean, mean_after(*events))


def test_another_worker_starts_from_the_newest_uploaded_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.stations.head_checkpoints.UPLOAD_EVERY", 4)
    bus, clock, artifacts = MemoryBus(), Clock(), Artifacts(str(tmp_path / "artifacts"))
    settings = HeadSettings(reconcile_every=3)  # so that the checkpoint has a history of several parts
    events = [claimed(1), *(joined(i) for i in range(1, 12))]
    here = learner(bus, tmp_path / "here", clock, artifacts=artifacts, settings=settings)
    for some in (events[:6], events[6:9], events[9:10], events[10:]):  # publishes 5, 8, 9 and 11, uploads 5 and 8
        publish(bus, *some)
        clock.now += 10
        here.step(0)
        here.step(0)
    there = learner(bus, tmp_path / "there", clock, artifacts=artifacts, settings=settings)
    assert there.head.sequence == 8
    assert len(there.head.history.shards) == 2
    there.handle(everything(bus, PREFERENCES.name))
    assert np.array_equal(there.head.overall.mean, here.head.overall.mean)
    elsewhere = learner(bus, tmp_path / "elsewhere", clock, artifacts=Artifacts(str(tmp_path / "empty")), settings=settings)
    assert elsewhere.head.sequence == 0


def test_only_the_last_two_uploaded_checkpoints_and_their_history_stay_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.stations.head_checkpoints.UPLOAD_EVERY", 4)
    bus, clock, artifacts = MemoryBus(), Clock(), Artifacts(str(tmp_path / "artifacts"))
    report = artifacts.put_bytes(b"a report")

    def on_machine(name: str, reconcile_every: int) -> Learner:
        return learner(bus, tmp_path / name, clock, artifacts=artifacts, settings=HeadSettings(reconcile_every=reconcile_every))

    def learn_and_upload(station: Learner, *events: Event) -> None:
        publish(bus, *events)
        clock.now += 10
        station.step(0)
        station.step(0)

    def assert_two_are_left() -> None:
        uploaded = [update.checkpoint for update in updates(bus) if update.checkpoint in artifacts]
        assert len(uploaded) == 2
        needed = {part for checkpoint in uploaded for part in parts_of(artifacts.get(checkpoint))}
        assert {path.name for path in (tmp_path / "artifacts").glob("*/*")} == {report, *uploaded, *needed}

    first = on_machine("here", 3)
    for event in (claimed(1), *(joined(i) for i in range(1, 24))):
        learn_and_upload(first, event)
    assert_two_are_left()
    assert on_machine("elsewhere", 3).head.sequence == 20
    other_settings = on_machine("here", 5)
    learn_and_upload(other_settings)
    learn_and_upload(other_settings, joined(24))
    assert_two_are_left()
    assert on_machine("elsewhere", 5).head.sequence == 24
    assert on_machine("elsewhere", 3).head.sequence == 0


def test_it_publishes_at_most_ten_updates_a_second_and_always_the_last_one(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    station = learner(bus, tmp_path, clock)
    publish(bus, claimed(1))
    for i in range(1, 101):  # for a second
        publish(bus, joined(i))
        station.step(0)
        clock.now += 0.01
    assert 2 <= len(updates(bus)) <= 10
    clock.now += INTERVAL
    station.step(0)
    assert updates(bus)[-1].sequence == 100
    station.step(0)
    clock.now += 1
    station.step(0)
    assert len(updates(bus)) <= 11, "and no update twice"


def test_in_a_backlog_it_publishes_rarely_and_at_its_end_at_once(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    publish(bus, claimed(1))
    station = learner(bus, tmp_path, clock)
    station.step(0)
    for i in range(1, 301):
        publish(bus, joined(i))
        if i % BACKLOG_ENTRIES == 0:
            station.step(0)
            clock.now += 2 * INTERVAL
    assert [update.sequence for update in updates(bus)] == [BACKLOG_ENTRIES], "the first is published at once"
    station.step(0)
    assert [update.sequence for update in updates(bus)] == [BACKLOG_ENTRIES, 300]


def test_given_an_entry_it_also_learns_later_ones_and_publishes_one_update(tmp_path: Path) -> None:
    bus = MemoryBus()
    station = learner(bus, tmp_path, time.monotonic)
    publish(bus, claimed(1), joined(1))
    told = bus.read({PARTITION: -1}, limit=10, wait=0)
    station.handle(told)
    assert [update.sequence for update in updates(bus)] == [1]
    publish(bus, joined(2), joined(3))
    second, third = bus.read({PARTITION: told[-1].offset}, limit=10, wait=0)
    station.handle([second])
    assert [update.sequence for update in updates(bus)] == [1, 3]
    assert load(next(tmp_path.glob("*/head.safetensors"))).sequence == 3, "the checkpoint is written before the entry counts as handled"
    station.handle([third])
    assert len(updates(bus)) == 2


def test_no_threshold_between_two_updates_is_missed_also_across_restarts(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    publish(bus, claimed(1))
    for i in range(1, 61):
        if i % 7 == 1:
            station = learner(bus, tmp_path, clock)  # the previous one was killed: only files and log are left
        publish(bus, joined(i))
        station.step(0)
        clock.now += 0.03
    clock.now += 1
    station.step(0)
    said = updates(bus)
    assert [update.judgments_before for update in said[1:]] == [update.judgments_seen for update in said[:-1]]
    asked = [request.k for update in said for request in on_reward_updated(update, RetrainingRule(every=10), PLAN)]
    assert asked == [1, 2, 3, 4, 5, 6]
    assert np.array_equal(station.head.overall.mean, mean_after(*(joined(i) for i in range(1, 61))))


def test_repeats_and_a_deposed_hub_teach_nothing(tmp_path: Path) -> None:
    bus = MemoryBus()
    stranger = joined(3, epoch=1, judgment={"choice": "B", "strength": 4})
    publish(bus, claimed(1), joined(1), joined(2), claimed(2), joined(2), stranger, joined(3, 2), joined(1), joined(4, 2))
    station = learner(bus, tmp_path, Clock())
    station.step(0)
    assert np.array_equal(station.head.overall.mean, mean_after(*(joined(i) for i in range(1, 5))))


def test_preferences_that_it_does_not_learn_only_advance_the_sequence_number(tmp_path: Path) -> None:
    bus = MemoryBus()
    publish(
        bus,
        claimed(1),
        joined(1),
        joined(2, stratum="evaluation"),
        joined(3, source="simulation"),
        joined(4, judgment={"choice": None, "objectives": {"helpful": "A"}}),
        joined(5, embedding_hash=sha("another")),
        joined(6, judgment={"counts": False}),
    )
    station = learner(bus, tmp_path, Clock())
    station.step(0)
    assert (station.head.sequence, station.head.judgments_seen) == (6, 1)
    assert np.array_equal(
        station.head.overall.mean, mean_after(*(joined(i, embedding_hash=sha("x")) if 1 < i < 6 else joined(i) for i in range(1, 7)))
    )


def test_a_checkpoint_older_than_the_mark_makes_it_rewind_the_log(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    publish(bus, claimed(1), *(joined(i) for i in range(1, 4)))
    learner(bus, tmp_path, clock).step(0)
    (checkpoint,) = tmp_path.glob("*/head.safetensors")
    old = checkpoint.read_bytes()
    publish(bus, *(joined(i) for i in range(4, 9)))
    clock.now += 1
    learner(bus, tmp_path, clock).step(0)
    checkpoint.write_bytes(old)
    publish(bus, joined(9))
    clock.now += 1
    station = learner(bus, tmp_path, clock)
    station.step(0)
    assert np.array_equal(station.head.overall.mean, mean_after(*(joined(i) for i in range(1, 10))))
    assert updates(bus)[-1].judgments_before == 8


def test_with_a_corrupt_checkpoint_it_learns_again_from_the_first_preference(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    publish(bus, claimed(1), *(joined(i) for i in range(1, 4)))
    learner(bus, tmp_path, clock).step(0)
    (checkpoint,) = tmp_path.glob("*/head.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    station = learner(bus, tmp_path, clock)
    station.step(0)
    assert np.array_equal(station.head.overall.mean, mean_after(*(joined(i) for i in range(1, 4))))
    assert len(updates(bus)) == 1, "that state was published before"


def test_a_gap_in_the_log_stops_it_after_one_rewind(tmp_path: Path) -> None:
    bus = MemoryBus()
    publish(bus, claimed(1), joined(1), joined(3))
    station = learner(bus, tmp_path, Clock())
    station.step(0)
    with pytest.raises(OffsetLost, match="number 3 came after 1"):
        station.step(0)
    assert station.head.sequence == 1


def test_a_new_head_publishes_nothing_before_it_has_caught_up(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    publish(bus, claimed(1), *(joined(i) for i in range(1, 1201)))
    station = learner(bus, tmp_path, clock)
    for _ in range(2):
        station.step(0)
        clock.now += 10
        assert updates(bus) == []
    station.step(0)
    (update,) = updates(bus)
    assert (update.sequence, update.judgments_before) == (1200, 0)
    other = learner(bus, tmp_path, clock, ("product", "simulation"))
    while other.head.sequence < 1200:
        other.step(0)
        clock.now += 10
    assert [u.judgments_before for u in updates(bus)] == [0, 1200], "it takes over from the judgments seen by the other head"


def test_unreadable_entries_go_to_quarantine_and_a_newer_schema_stops_it_there(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    publish(bus, claimed(1), joined(1))
    bus.publish([Record(PREFERENCES.name, b"", b"\xff not an event")], timeout=1)
    publish(bus, joined(2))
    newer = records_of([joined(3)])[0]
    bus.publish([newer._replace(value=newer.value.replace(b'"schema_version":2', b'"schema_version":3'))], timeout=1)
    station = learner(bus, tmp_path, clock)
    with pytest.raises(SchemaTooNew, match="upgrade"):
        station.step(0)
    assert updates(bus)[-1].sequence == 2
    (quarantined,) = [decode(entry.value) for entry in everything(bus, QUARANTINE.name)]
    assert isinstance(quarantined, EventQuarantined)
    assert (quarantined.offset, quarantined.reader) == (2, "learner")


def test_it_starts_when_the_newest_reward_updates_are_unreadable(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    publish(bus, claimed(1), joined(1))
    learner(bus, tmp_path, clock).step(0)
    bus.publish([Record(REWARD.name, b"", b"{")] * 3, timeout=1)
    publish(bus, joined(2))
    learner(bus, tmp_path, clock).step(0)
    said = [decode(entry.value) for entry in everything(bus, REWARD.name) if entry.value != b"{"]
    assert [(update.judgments_before, update.judgments_seen) for update in said if isinstance(update, RewardUpdated)] == [(0, 1), (1, 2)]


def test_a_quarantined_claim_does_not_depose_the_hub(tmp_path: Path) -> None:
    bus = MemoryBus()
    publish(bus, claimed(1), joined(1))
    claim = records_of([claimed(1)])[0]
    bus.publish([claim._replace(value=claim.value.replace(b'"epoch":1', b'"epoch":99999999999999999999'))], timeout=1)
    publish(bus, joined(2))
    station = learner(bus, tmp_path, Clock())
    station.step(0)
    assert station.head.sequence == 2
    (quarantined,) = [decode(entry.value) for entry in everything(bus, QUARANTINE.name)]
    assert isinstance(quarantined, EventQuarantined)
    assert "does not fit into 64 bits" in quarantined.reason


@settings(max_examples=examples(20))
@given(st.lists(st.sampled_from(["joined", "joined", "step", "time", "kill", "claim", "repeat"]), min_size=5, max_size=40))
def test_after_any_course_of_events_the_head_is_that_of_the_log(tmp_path_factory: pytest.TempPathFactory, course: list[str]) -> None:
    folder, bus, clock = tmp_path_factory.mktemp("learner"), MemoryBus(), Clock()
    station = learner(bus, folder, clock)
    number, epoch = 0, 1
    for what in course:
        match what:
            case "joined":
                number += 1
                publish(bus, joined(number, epoch))
            case "repeat":
                publish(bus, *(joined(i, epoch) for i in range(max(1, number - 2), number + 1)))
            case "claim":
                epoch += 1
                publish(bus, claimed(epoch))
            case "step":
                station.step(0)
            case "time":
                clock.now += 0.2
            case "kill":
                station = learner(bus, folder, clock)
    clock.now += 1
    station.step(0)
    assert station.head.sequence == number
    assert np.array_equal(station.head.overall.mean, mean_after(*(joined(i) for i in range(1, number + 1))))
    said = updates(bus)
    assert (said[-1].sequence if said else 0) == number
    assert all(later.judgments_before == earlier.judgments_seen for earlier, later in itertools.pairwise(said))


def _learn_until_killed(log: Path, folder: Path) -> None:
    with SQLiteBus(log) as bus:
        station = learner(bus, folder, time.monotonic)
        while True:
            station.step(0.5)


def test_a_learner_killed_at_any_moment_misses_nothing_and_learns_nothing_twice(tmp_path: Path) -> None:
    total = 240
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        publish(bus, claimed(1))
        for kill in range(4):
            process = multiprocessing.get_context("fork").Process(target=_learn_until_killed, args=(bus.path, tmp_path))
            process.start()
            (partition,) = bus.bounds([REWARD.name])
            for i in range(kill * 60 + 1, kill * 60 + 61, 5):
                last = bus.bounds([REWARD.name])[partition][1] - 1
                publish(bus, *(joined(i + j) for j in range(5)))
                if i % 20 == 1:  # somewhere between two updates
                    assert bus.read({partition: last}, limit=1, wait=30)
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
        clock = Clock()
        station = learner(bus, tmp_path, clock)
        clock.now += 1
        station.step(0)
        said = updates(bus)
    assert np.array_equal(station.head.overall.mean, mean_after(*(joined(i) for i in range(1, total + 1))))
    assert said[-1].sequence == total
    assert all(later.judgments_before == earlier.judgments_seen for earlier, later in itertools.pairwise(said))


def sha_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def requests_of(bus: Bus, every: int) -> list[TrainingRequested]:
    return [request for update in updates(bus) for request in on_reward_updated(update, RetrainingRule(every=every), PLAN)]


@pytest.mark.parametrize("cuts", [(40,), (7, 23, 40), (20, 40), (1, 19, 21, 39, 40)])
def test_two_workers_that_cross_a_threshold_request_the_same_run_to_the_byte(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    others: dict[int, dict[str, Any]] = {5: {"stratum": "evaluation"}, 18: {"judgment": {"counts": False}}, 19: {"stratum": "evaluation"}}
    events = [claimed(1), *(joined(i, **others.get(i, {})) for i in range(1, 41))]
    asked = []
    for worker, at_once in (("one", (40,)), ("two", cuts)):
        bus, clock, start = MemoryBus(), Clock(), 0
        station = learner(bus, tmp_path / worker, clock, every=10)
        for end in at_once:
            publish(bus, *events[start if start == 0 else start + 1 : end + 1])
            start = end
            station.step(0)
            if end % 2:  # killed, and started again
                station = learner(bus, tmp_path / worker, clock, every=10)
        clock.now += 1
        station.step(0)
        asked.append([encode(request) for request in requests_of(bus, 10)])
    assert len(asked[0]) == 3
    assert asked[0] == asked[1]


def test_many_judgments_of_one_pair_count_once_towards_the_threshold(tmp_path: Path) -> None:
    bus = MemoryBus()
    judgments = [joined(i, judgment={"pair_id": derived_id("pair", 1), "recruiter": f"r-{i}"}) for i in range(1, 206)]
    publish(bus, claimed(1), *judgments, joined(206), removed(207, 1), removed(208, 206))
    station = learner(bus, tmp_path, Clock(), every=100)
    station.step(0)
    assert station.head.judgments_seen == 1
    assert len(station.head.history) == 204
    assert requests_of(bus, 100) == []


def test_a_new_head_that_replays_old_judgments_does_not_request_their_runs_again(tmp_path: Path) -> None:
    bus, clock = MemoryBus(), Clock()
    publish(bus, claimed(1), *(joined(i) for i in range(1, 26)))
    learner(bus, tmp_path, clock, every=10).step(0)
    assert [request.k for request in requests_of(bus, 10)] == [1, 2]
    again = learner(bus, tmp_path, clock, every=10, settings=HeadSettings(prior_scale=0.9))
    again.step(0)
    assert [request.k for request in requests_of(bus, 10)] == [1, 2]
    publish(bus, *(joined(i) for i in range(26, 31)))
    clock.now += 1
    again.step(0)
    assert [request.k for request in requests_of(bus, 10)] == [1, 2, 3]
