"""Fuzzing: whatever is on the log, no station stops, unusable entries are quarantined, and every entry is accounted for.

``--inputs 100000`` sends that many inputs to each topic instead of a few hundred, which takes half an hour.
"""

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import NamedTuple
from uuid import UUID

import pytest

from dashboard.actions.verification import verified
from dashboard.status.readings import Readings, Sources
from storage.errors import EventUnreadable
from storage.events import Event, EventQuarantined, PairDrawn, PairEmbedded, PreferenceJoined, PreferenceRemoved, RewardUpdated
from storage.warehouse.contents import contents
from storage.warehouse.inserts import LOGGED
from storage.warehouse.rows import TABLES
from streams.bus.lag import lag
from streams.bus.protocol import Bus, Logged, Partition, Record, records_of
from streams.bus.quarantine import event_in, quarantined
from streams.bus.topics import FEATURES, PAIRS, PREFERENCES, QUARANTINE, REQUESTED, REWARD, TOPICS, Topic
from streams.evaluations import RunArtifacts
from streams.replay import replay
from streams.stations.settings import RetrainingRule
from streams.stations.trigger import on_reward_updated
from tests.streams.examples import PLAN, claimed
from tests.streams.mutations import inputs
from tests.streams.test_loop import RETRAINING, House
from trainers.reward.online.learn import load

AT_ONCE = 50
HIGH = 2**62  # the hub claims a higher epoch, so claims and preferences among the inputs count as those of earlier hubs


class Note(NamedTuple):
    """What a quarantine event says."""

    topic: str
    partition: int
    offset: int
    reason: str
    payload_hash: str


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    inputs_each: int = request.config.getoption("--inputs")
    return inputs_each


@pytest.mark.timeout(3600)
def test_every_input_is_stored_quarantined_or_a_repeat_and_no_station_stops(tmp_path: Path, count: int) -> None:
    house = House(tmp_path)
    house.bus.publish(records_of([claimed(HIGH)]), timeout=5)
    house.start()
    until(lambda: house.hub.checks["numbering"]() is None)
    publish_all(house, count)
    house.judged(3)
    settle(house, count)
    judged = house.warehouse.last_sequence
    assert judged > 3
    stop(house, count)
    aside, ids = set_aside(house.bus), stored_ids(house)
    for topic in TOPICS.values():
        sent, rows, quarantined_here, repeats = account_for(house, topic, aside, ids)
        print(f"{topic.name:<24} {sent:>9,} sent = {rows:>9,} stored + {quarantined_here:>7,} quarantined + {repeats:>6,} repeats")
        assert sent == rows + quarantined_here + repeats
        assert sent >= count
        assert min(rows, quarantined_here) > count / 20
    accounts_of_the_processor(house, aside)
    report = verified(house.bus, house.warehouse, house.artifacts, house.settings, house.texts)
    strange = {kind: found for kind, found in report.items() if isinstance(found, list) and kind != "not_covered"}
    assert set(strange) <= {"artifact"}, strange  # snapshots named in mutated events do not exist
    assert Readings(Sources(house.warehouse, dict, list, 20, RunArtifacts(house.artifacts))).take(1).status.counts.judgments > 3
    assert replay(house.bus, tmp_path / "again.duckdb", lambda *_: None) == contents(house.warehouse)
    house.warehouse.close()
    house.bus.close()

    again = House(tmp_path).start()  # all processes can also start on such a log
    again.judged(2, start=3)
    until(lambda: again.hub.checks["numbering"]() is None)
    until(lambda: again.warehouse.last_sequence == judged + 2)
    settle(again, count)
    stop(again, count)
    again.warehouse.close()
    again.bus.close()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, f"not within {seconds} s"
        sleep(0.05)


def publish_all(house: House, count: int) -> None:
    """Publish a few inputs to each topic in turn, so that stations read them interleaved."""
    sources = {topic.name: inputs(topic, count, Random(topic.name)) for topic in TOPICS.values()}
    for _ in range(0, count, AT_ONCE):
        for name, source in sources.items():
            house.bus.publish([Record(name, b"", value) for value in islice(source, AT_ONCE)], timeout=60)
        all_go_on(house)


def all_go_on(house: House) -> None:
    assert house.runner.problems == {}
    assert {name: reason for name, check in house.hub.checks.items() if (reason := check())} == {}


def settle(house: House, count: int) -> None:
    """Wait until hub and processor have processed everything; the trainer keeps retrying its runs."""
    within = 60 + count / 20

    def learnt() -> int:
        checkpoints = list(house.home.glob("learner/*/head.safetensors"))
        return load(checkpoints[0]).sequence if checkpoints else 0

    def settled() -> bool:
        all_go_on(house)
        behind = [lag(house.bus, group, [topic]) for group, topic in (("embed", PAIRS), ("trigger", REWARD))]
        return sum(behind) + lag(house.bus, "sink", list(TOPICS.values())) < AT_ONCE and learnt() == house.warehouse.last_sequence

    until(settled, within)


def stop(house: House, count: int) -> None:
    """Stop processor and trainer, which may still be folding all runs, then the hub once it has stored their events."""
    assert all(thread.is_alive() for thread in house.runner._threads)
    house.stop.set()
    assert house.runner.join(10 + count / 500)
    until(lambda: lag(house.bus, "sink", list(TOPICS.values())) == 0)
    assert house.hub.stop(10)
    assert house.runner.problems == {}
    assert {name: check() for name, check in house.hub.checks.items() if check()} == {}


def account_for(house: House, topic: Topic, aside: dict[UUID, Note], ids: set[UUID]) -> tuple[int, int, int, int]:
    """Check that the sink stored or quarantined each entry, or that it repeats a stored id; return the total and these counts."""
    rows = stored_offsets(house, topic)
    entries = in_quarantine = repeats = 0
    for entry in entries_of(house.bus, topic):
        entries += 1
        event, note = readable(entry), aside.get(quarantined(entry, "sink", "").event_id)
        if note is not None:
            in_quarantine += 1
            assert entry.offset not in rows
            assert event is None or event.event_id in ids
            assert (note.topic, note.partition, note.offset) == (topic.name, 0, entry.offset)
            assert note.payload_hash == hashlib.sha256(entry.value).hexdigest()
            assert note.reason
        else:
            assert event is not None, f"{topic.name}, offset {entry.offset} is nowhere: {entry.value[:200]!r}"
            repeats += entry.offset not in rows
            assert entry.offset in rows or event.event_id in ids
    assert house.warehouse.offsets()[topic.name, 0] == entries - 1
    return entries, len(rows), in_quarantine, repeats


def accounts_of_the_processor(house: House, aside: dict[UUID, Note]) -> None:
    """Check that embed, trigger and learner handled every readable entry, and that each quarantined the unreadable ones."""
    embedded = {event.pair_id for event in events_of(house.bus, FEATURES) if isinstance(event, PairEmbedded)}
    asked = {event.event_id for event in events_of(house.bus, REQUESTED)}
    rule = RetrainingRule(**RETRAINING)
    for group, topic in (("embed", PAIRS), ("trigger", REWARD), ("learner", PREFERENCES)):
        for entry in entries_of(house.bus, topic):
            event, note = readable(entry), aside.get(quarantined(entry, group, "").event_id)
            if event is None:
                assert note is not None
                assert (note.topic, note.offset) == (topic.name, entry.offset)
            elif note is None and isinstance(event, PairDrawn):
                assert event.pair_id in embedded
            elif note is None and isinstance(event, RewardUpdated):
                assert {request.event_id for request in on_reward_updated(event, rule, PLAN)} <= asked


def stored_offsets(house: House, topic: Topic) -> set[int]:
    """The offsets of the topic that have a row; fails if one has two."""
    offsets: set[int] = set()
    for table in [*(TABLES[kind] for kind in TABLES if kind not in (PreferenceJoined, PreferenceRemoved)), LOGGED]:
        found = house.warehouse.cursor().execute(f"SELECT log_offset FROM {table} WHERE log_topic = ?", [topic.name]).fetchall()
        assert offsets.isdisjoint(row[0] for row in found)
        offsets |= {row[0] for row in found}
    return offsets


def stored_ids(house: House) -> set[UUID]:
    return {row[0] for table in TABLES.values() for row in house.warehouse.cursor().execute(f"SELECT event_id FROM {table}").fetchall()}


def set_aside(bus: Bus) -> dict[UUID, Note]:
    """The quarantine, by event id."""
    return {
        event.event_id: Note(event.topic, event.partition, event.offset, event.reason, event.payload_hash)
        for event in events_of(bus, QUARANTINE)
        if isinstance(event, EventQuarantined)
    }


def events_of(bus: Bus, topic: Topic) -> Iterator[Event]:
    return (event for entry in entries_of(bus, topic) if (event := readable(entry)) is not None)


def entries_of(bus: Bus, topic: Topic) -> Iterator[Logged]:
    after = -1
    while entries := bus.read({Partition(topic.name, 0): after}, limit=1_000, wait=0):
        yield from entries
        after = entries[-1].offset


def readable(entry: Logged) -> Event | None:
    try:
        return event_in(entry)
    except EventUnreadable:
        return None
