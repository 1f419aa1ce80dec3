"""The sink between a log and a real warehouse: exactly once across restarts, and unreadable entries do not block it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from storage.errors import OffsetLost, Overloaded, SchemaTooNew, WarehouseError
from storage.events import Event, EventQuarantined, HubClaimed, PairEmbedded, PreferenceJoined, PreferenceRemoved, now
from storage.events.wire import decode, encode
from storage.warehouse.warehouse import Applied, Warehouse
from streams.bus.lag import lag
from streams.bus.protocol import Bus, Logged, Partition, Position, Record, records_of
from streams.bus.resume import PARTITION
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import FEATURES, JUDGMENTS, PAIRS, PREFERENCES, QUARANTINE, TOPICS
from streams.intake import Intake
from streams.stations.embed import embed_pairs
from streams.stations.sink import LOST_AFTER, PREFERENCES_EVERY, PUBLISHER, Sink
from tests.streams.bus_contract import everything
from tests.streams.examples import SmallEmbedder, claimed, joined
from tests.streams.memory_bus import MemoryBus
from tests.streams.test_learner import Clock

PROMPT = [{"role": "user", "content": "Is the role still open?"}]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SQLiteBus]:
    with SQLiteBus(tmp_path / "bus.sqlite") as opened:
        yield opened


class Hub:
    """A hub on the log; a second instance on the same file is a restart after a kill."""

    def __init__(self, path: Path, bus: Bus) -> None:
        self.path, self.bus = path, bus
        self.warehouse = Warehouse.open(path)
        self.sink = Sink(bus, self.warehouse, "hub")
        self.sink.start()

    def drain(self) -> None:
        """Step until there is nothing left to do."""
        for _ in range(6):
            self.sink.step(0)

    def restarted(self, bus: Bus | None = None) -> "Hub":
        self.warehouse.close()
        return Hub(self.path, bus or self.bus)


@pytest.fixture
def hub(tmp_path: Path, bus: SQLiteBus) -> Hub:
    return Hub(tmp_path / "warehouse.duckdb", bus)


def judged_pair(bus: Bus, text: str, recruiter: str = "Ada", *, embed: bool = True) -> None:
    intake = Intake(bus, b"k" * 32)
    pair = intake.pair(prompt=PROMPT, a={"text": text, "version": "base"}, b={"text": f"{text}, gladly", "version": "base"})
    intake.judgment(pair_id=pair.pair_id, recruiter=recruiter, choice="B", shown_first="A")
    if embed:
        bus.publish(records_of(embed_pairs([pair], SmallEmbedder())), timeout=5)


def on(bus: Bus, topic: str) -> list[Event]:
    return [decode(entry.value) for entry in everything(bus, topic)]


def numbers(bus: Bus) -> list[int]:
    return [event.sequence for event in on(bus, PREFERENCES.name) if isinstance(event, PreferenceJoined | PreferenceRemoved)]


def test_offsets_of_published_preferences_are_stored_in_batches_and_soon(hub: Hub, bus: SQLiteBus) -> None:
    hub.drain()  # its own claim
    clock = Clock()
    hub.sink._clock, hub.sink._preferences_read_at = clock, clock()
    judged_pair(bus, "yes")
    hub.sink.step(0.01)
    hub.sink.step(0.01)
    assert numbers(bus) == [1]
    assert lag_of(hub, PREFERENCES.name) == 1  # published, but its offset is not stored yet
    judged_pair(bus, "no")
    hub.sink.step(0.01)
    assert (numbers(bus), lag_of(hub, PREFERENCES.name)) == ([1, 2], 2)  # other entries are not delayed
    clock.now += PREFERENCES_EVERY
    hub.sink.step(0.01)
    assert lag_of(hub, PREFERENCES.name) == 0


class RecordingBus(SQLiteBus):
    """A bus that records which offsets of feedback.preferences were read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.numbers: list[int] = []

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        found = super().read(after, limit=limit, wait=wait)
        self.numbers += [entry.offset for entry in found if entry.partition == PARTITION]
        return found


def test_published_preferences_are_read_back_only_if_other_entries_are_in_between(tmp_path: Path, bus: SQLiteBus) -> None:
    with closing(RecordingBus(tmp_path / "bus.sqlite")) as listened:
        hub = Hub(tmp_path / "warehouse.duckdb", listened)
        hub.drain()
        assert listened.numbers == [0]  # its claim
        judged_pair(bus, "yes")
        hub.drain()
        clock = Clock()
        hub.sink._clock, hub.sink._preferences_read_at = clock, clock()
        (first,) = (entry for entry in everything(bus, PREFERENCES.name) if entry.offset == 1)
        bus.publish([Record(PREFERENCES.name, first.key, first.value)], timeout=5)  # a repeat by a hub that got no acknowledgement in time
        judged_pair(bus, "no")
        hub.sink.step(0.01)
        assert (numbers(bus), listened.numbers) == ([1, 1, 2], [0])
        hub.drain()
        judged_pair(bus, "perhaps")
        hub.drain()
        assert (numbers(bus), listened.numbers) == ([1, 1, 2, 3], [0, 2, 3])
        assert lag_of(hub, PREFERENCES.name) == 0


class Slow(MemoryBus):
    """A bus on which publishing takes ``takes`` seconds of the test's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.takes = clock, 0.0

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        self.clock.now += self.takes
        return super().publish(records, timeout=timeout)


@pytest.mark.parametrize(("takes", "waits"), [(0.01, 0.005), (0.02, 0.01), (5.0, 0.0)])
def test_the_sink_lingers_before_the_next_batch_in_proportion_to_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: float, waits: float
) -> None:
    clock = Clock()
    bus = Slow(clock)
    hub = Hub(tmp_path / "warehouse.duckdb", bus)
    hub.drain()
    hub.sink._clock = clock
    hub.sink._applied_at = clock()
    judged_pair(bus, "yes")
    bus.takes = takes
    hub.sink.step(0)
    slept: list[float] = []
    monkeypatch.setattr("streams.stations.sink.time.sleep", slept.append)
    hub.sink.step(10)
    assert slept == [pytest.approx(waits, abs=1e-9)]


def lag_of(hub: Hub, topic: str) -> int:
    """Entries of the topic that are not in the warehouse."""
    offsets = hub.warehouse.offsets()
    return sum(following - 1 - offsets.get((topic, partition.number), -1) for partition, (_, following) in hub.bus.bounds([topic]).items())


def test_judged_and_embedded_pairs_are_published_with_numbers(hub: Hub) -> None:
    applied: list[Applied] = []
    hub.sink.listeners.append(applied.append)
    for i in range(3):
        judged_pair(hub.bus, f"Reply {i}")
    hub.drain()
    assert numbers(hub.bus) == [1, 2, 3]
    assert sum(len(one.numbered) for one in applied) == 3
    assert sum(lag(hub.bus, "sink", [topic]) for topic in TOPICS.values()) == 0


def test_judgments_accepted_while_no_hub_ran_are_numbered_at_its_start(bus: SQLiteBus, tmp_path: Path) -> None:
    for i in range(3):
        judged_pair(bus, f"Reply {i}")
    Hub(tmp_path / "warehouse.duckdb", bus)
    assert numbers(bus) == [1, 2, 3]


def test_a_restarted_hub_claims_a_higher_epoch_and_continues_numbering(hub: Hub) -> None:
    judged_pair(hub.bus, "Reply one")
    hub.drain()
    again = hub.restarted()
    judged_pair(hub.bus, "Reply two")
    again.drain()
    assert numbers(hub.bus) == [1, 2]
    assert [event.epoch for event in on(hub.bus, PREFERENCES.name) if isinstance(event, HubClaimed)] == [1, 2]


class Killed(Exception):
    pass


class Failing(MemoryBus):
    """A bus of a process that is killed before it publishes a preference."""

    fail = False

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        if self.fail and any(record.topic == PREFERENCES.name for record in records):
            raise Killed
        return super().publish(records, timeout=timeout)


def test_killed_between_numbering_and_publishing_it_publishes_at_the_next_start(tmp_path: Path) -> None:
    log = Failing()
    hub = Hub(tmp_path / "warehouse.duckdb", log)
    judged_pair(log, "Reply one")
    log.fail = True
    with pytest.raises(Killed):
        hub.drain()
    assert (hub.warehouse.last_sequence, numbers(log)) == (1, [])
    log.fail = False
    hub.restarted().drain()
    assert numbers(log) == [1]
    assert lag(log, "sink", list(TOPICS.values())) == 0  # topics that it had not marked are marked without new entries


def test_a_lost_warehouse_is_rebuilt_from_the_log_with_the_same_numbers(hub: Hub, tmp_path: Path) -> None:
    for i in range(4):
        judged_pair(hub.bus, f"Reply {i}")
        hub.drain()
    before = hub.warehouse.preferences_after(0, 10)
    other = Hub(tmp_path / "other.duckdb", hub.bus)
    other.drain()
    assert other.warehouse.preferences_after(0, 10) == before
    assert numbers(hub.bus) == [1, 2, 3, 4]


def test_a_log_that_disagrees_with_the_warehouse_is_refused_with_advice(tmp_path: Path) -> None:
    log, other = MemoryBus(), MemoryBus()
    hub = Hub(tmp_path / "warehouse.duckdb", log)
    judged_pair(log, "Reply one")
    hub.drain()
    for topic in (PAIRS, JUDGMENTS, FEATURES):
        other.publish([Record(topic.name, e.key, e.value) for e in everything(log, topic.name)], timeout=1)
    other.publish(records_of([claimed(1), joined(1)]), timeout=1)
    sink = Sink(other, hub.warehouse, "hub")
    with pytest.raises(WarehouseError, match="replay"):
        sink.start()
    sink.close()
    assert other.marked("sink") == {}  # the warehouse was not filled from this log
    with pytest.raises(WarehouseError, match="replay"):
        hub.restarted(other)


def test_a_log_that_is_shorter_than_the_warehouse_is_refused(tmp_path: Path) -> None:
    log = MemoryBus()
    hub = Hub(tmp_path / "warehouse.duckdb", log)
    judged_pair(log, "Reply one")
    hub.drain()
    with pytest.raises(OffsetLost, match="not in the log"):
        hub.restarted(MemoryBus())


def test_a_deposed_hub_stops(hub: Hub) -> None:
    hub.bus.publish(records_of([claimed(9)]), timeout=5)
    with pytest.raises(WarehouseError, match="epoch 9"):
        hub.drain()


class RefusingPreferences(SQLiteBus):
    """A log that accepts no preferences while ``refuses`` is set."""

    refuses = False

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        if self.refuses and any(record.topic == PREFERENCES.name for record in records):
            raise Overloaded("away")
        return super().publish(records, timeout=timeout)


def test_listeners_get_committed_events_once_also_if_publishing_fails_afterwards(tmp_path: Path) -> None:
    received: list[Event | None] = []
    with closing(RefusingPreferences(tmp_path / "bus.sqlite")) as bus:
        hub = Hub(tmp_path / "warehouse.duckdb", bus)
        hub.sink.listeners.append(lambda applied: received.extend(applied.stored))
        bus.refuses = True
        judged_pair(bus, "Reply one")
        with pytest.raises(Overloaded):
            hub.drain()
        assert sum(isinstance(event, PairEmbedded) for event in received) == 1
        bus.refuses = False
        hub.drain()
        assert sum(isinstance(event, PairEmbedded) for event in received) == 1
        assert numbers(bus) == [1]
        assert lag(bus, "sink", list(TOPICS.values())) == 0


class ClaimHooks(SQLiteBus):
    """A bus that calls ``before`` and ``after`` around a hub's claim, to let another hub act meanwhile."""

    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        claims = any(isinstance(decode(record.value), HubClaimed) for record in records)
        if claims and self.before is not None:
            act, self.before = self.before, None
            act()
        positions = super().publish(records, timeout=timeout)
        if claims and self.after is not None:
            act, self.after = self.after, None
            act()
        return positions


def test_a_hub_that_takes_over_does_not_number_again_what_the_other_numbered_meanwhile(tmp_path: Path) -> None:
    with closing(ClaimHooks(tmp_path / "bus.sqlite")) as bus:
        first = Hub(tmp_path / "first.duckdb", bus)
        judged_pair(bus, "Reply one")
        first.drain()

        def judge_and_number() -> None:
            judged_pair(bus, "Reply two")
            first.drain()

        bus.before = judge_and_number
        second = Hub(tmp_path / "second.duckdb", bus)
        judged_pair(bus, "Reply three")
        second.drain()
        joined_here = [event for event in on(bus, PREFERENCES.name) if isinstance(event, PreferenceJoined)]
        assert [(event.epoch, event.sequence) for event in joined_here] == [(1, 1), (1, 2), (2, 3)]
        assert len({event.judgment.event_id for event in joined_here}) == 3


def test_a_hub_takes_over_from_one_that_keeps_publishing_after_the_claim(tmp_path: Path) -> None:
    with closing(ClaimHooks(tmp_path / "bus.sqlite")) as bus:
        first = Hub(tmp_path / "first.duckdb", bus)
        judged_pair(bus, "Reply one")
        first.drain()

        def publish_once_more() -> None:
            (position,) = bus.publish(records_of([joined(2, epoch=1)]), timeout=1)
            bus.mark(PUBLISHER, {position.partition: position.offset})

        bus.after = publish_once_more
        second = Hub(tmp_path / "second.duckdb", bus)
        judged_pair(bus, "Reply two")
        second.drain()
        effective = [event for event in on(bus, PREFERENCES.name) if isinstance(event, PreferenceJoined) and event.epoch == 2]
        assert [event.sequence for event in effective] == [2]


def test_unreadable_entries_are_quarantined_once_and_the_others_are_applied(hub: Hub) -> None:
    bus = hub.bus
    garbage = b"\xffWhere is Rosa Marchetti?"
    bus.publish([Record(JUDGMENTS.name, b"", garbage)], timeout=5)
    bus.publish([Record(PAIRS.name, b"", records_of([claimed(1)])[0].value)], timeout=5)
    judged_pair(bus, "Reply one")
    hub.drain()
    hub.restarted().drain()
    assert numbers(bus) == [1]
    first, second = on(bus, QUARANTINE.name)
    assert isinstance(first, EventQuarantined)
    assert isinstance(second, EventQuarantined)
    assert (first.topic, first.offset, first.payload_hash) == (JUDGMENTS.name, 0, sha256(garbage).hexdigest())
    assert b"Marchetti" not in encode(first)
    assert "does not belong on feedback.pairs" in second.reason


def test_a_newer_schema_stops_it_there_and_what_came_before_is_kept(hub: Hub) -> None:
    bus = hub.bus
    judged_pair(bus, "Reply one")
    (pair,) = everything(bus, PAIRS.name)
    bus.publish([Record(PAIRS.name, pair.key, pair.value.replace(b'"schema_version":4', b'"schema_version":7'))], timeout=5)
    with pytest.raises(SchemaTooNew, match=r"feedback\.pairs, offset 1: .*upgrade"):
        hub.drain()
    assert numbers(bus) == [1]
    assert hub.warehouse.offsets()[PAIRS.name, 0] == 0
    with pytest.raises(SchemaTooNew):
        hub.drain()


def test_embedding_a_pair_twice_counts_once_even_if_the_features_differ(hub: Hub) -> None:
    bus = hub.bus
    judged_pair(bus, "Reply one")
    (features,) = [event for event in on(bus, FEATURES.name) if isinstance(event, PairEmbedded)]
    bus.publish(records_of([features, features.model_copy(update={"a": features.b})]), timeout=5)
    hub.drain()
    assert on(bus, QUARANTINE.name) == []
    assert numbers(bus) == [1]


def test_a_pair_without_features_is_republished_after_a_minute_with_backoff(
    bus: SQLiteBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, moment = Clock(), now()
    monkeypatch.setattr("streams.stations.sink.now", lambda: moment)
    hub = Hub(tmp_path / "warehouse.duckdb", bus)
    hub.sink = Sink(bus, hub.warehouse, "hub", clock=clock)
    hub.sink.start()
    judged_pair(bus, "Reply one", embed=False)
    times = []
    for minute in range(6):
        moment = now() + minute * LOST_AFTER + timedelta(seconds=1)
        clock.now += 60
        bus.mark("embed", {partition: following - 1 for partition, (_, following) in bus.bounds([PAIRS.name]).items()})
        hub.drain()
        times.append(len(everything(bus, PAIRS.name)))
    assert times == [1, 2, 3, 3, 4, 4]
    assert len({event.event_id for event in on(bus, PAIRS.name)}) == 1
    bus.mark("embed", {partition: following - 2 for partition, (_, following) in bus.bounds([PAIRS.name]).items()})
    moment, clock.now = now() + 60 * LOST_AFTER, clock.now + 60
    hub.drain()
    assert len(everything(bus, PAIRS.name)) == 4, "the embedder only lags"
