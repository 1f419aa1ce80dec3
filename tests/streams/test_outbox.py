"""Accepted events reach the bus behind the outbox in order, also after outages and crashes; the outbox is bounded."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

import pytest

from storage.errors import ConfigurationError, OffsetLost, Overloaded
from streams.bus.outbox import Outbox
from streams.bus.protocol import Partition, Position, Record
from streams.bus.sqlite import SQLiteBus
from tests.streams.bus_contract import everything
from tests.streams.memory_bus import MemoryBus

PAIRS = "feedback.pairs"


class Shaky(MemoryBus):
    """A bus that is unreachable until ``back`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.back = threading.Event()

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        if not self.back.is_set():
            raise Overloaded("away")
        return super().publish(records, timeout=timeout)


def record(number: int, size: int = 1) -> Record:
    return Record(PAIRS, b"k", str(number).encode() * size)


def arrived(bus: MemoryBus, count: int) -> list[bytes]:
    deadline = monotonic() + 20
    while len(found := everything(bus, PAIRS)) < count:
        assert monotonic() < deadline
        sleep(0.01)
    return [entry.value for entry in found]


def test_published_records_arrive_in_order_and_are_deleted_from_the_outbox(tmp_path: Path) -> None:
    bus = Shaky()
    bus.back.set()
    outbox = Outbox(tmp_path / "outbox.sqlite", bus, most=2**20)
    for number in range(20):
        outbox.publish([record(2 * number), record(2 * number + 1)], timeout=5)
    assert arrived(bus, 40) == [str(number).encode() for number in range(40)]
    outbox.close()
    with SQLiteBus(tmp_path / "outbox.sqlite") as local:
        assert local.size() == (0, 0)
        assert local.bounds([PAIRS]) == {Partition(PAIRS, 0): (40, 40)}


def test_during_an_outage_events_are_accepted_up_to_the_limit_and_refused_beyond_it(tmp_path: Path) -> None:
    bus = Shaky()
    outbox = Outbox(tmp_path / "outbox.sqlite", bus, most=125)  # of which feedback may fill 100
    for number in range(9):
        outbox.publish([record(number, 10)], timeout=5)
    with pytest.raises(Overloaded, match="outbox_mb") as refused:
        outbox.publish([record(9, 11)], timeout=5)
    assert refused.value.retry_after == 30
    outbox.publish([Record("chat.replies", b"k", b"r" * 35)], timeout=5)  # chat replies are still accepted
    with pytest.raises(Overloaded):
        outbox.publish([Record("chat.replies", b"k", b"r")], timeout=5)
    bus.back.set()
    assert len(arrived(bus, 9)) == 9
    deadline = monotonic() + 20
    while outbox.waiting:  # there is room again once sent events are deleted
        assert monotonic() < deadline
        sleep(0.01)
    outbox.publish([record(9, 11)], timeout=5)
    assert arrived(bus, 10)[-1] == b"9" * 11
    outbox.close()


def test_events_left_when_the_process_ended_are_sent_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.bus.outbox.DRAIN_TIMEOUT", 0.0)
    bus = Shaky()
    first = Outbox(tmp_path / "outbox.sqlite", bus, most=2**20)
    first.publish([record(1), record(2)], timeout=5)
    first.close()
    bus.back.set()
    second = Outbox(tmp_path / "outbox.sqlite", bus, most=2**20)
    second.publish([record(3)], timeout=5)
    assert arrived(bus, 3) == [b"1", b"2", b"3"]
    second.close()


def test_sent_events_are_deleted_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus, prune = MemoryBus(), SQLiteBus.prune
    deleted: list[Mapping[Partition, int]] = []

    def noted(local: SQLiteBus, upto: Mapping[Partition, int]) -> None:
        deleted.append(upto)
        prune(local, upto)

    monkeypatch.setattr(SQLiteBus, "prune", noted)
    outbox = Outbox(tmp_path / "outbox.sqlite", bus, most=2**20)
    for number in range(20):
        outbox.publish([record(number)], timeout=5)
        arrived(bus, number + 1)
    outbox.close()
    assert 1 <= len(deleted) < 10


def test_events_that_were_sent_but_not_deleted_before_a_kill_are_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = MemoryBus()
    with monkeypatch.context() as patch:
        patch.setattr(SQLiteBus, "prune", lambda local, upto: None)
        killed = Outbox(tmp_path / "outbox.sqlite", bus, most=2**20)
        killed.publish([record(0), record(1)], timeout=5)
        arrived(bus, 2)
        killed.close()
    following = Outbox(tmp_path / "outbox.sqlite", bus, most=2**20)
    assert arrived(bus, 4) == [b"0", b"1", b"0", b"1"]
    following.close()
    with SQLiteBus(tmp_path / "outbox.sqlite") as local:
        assert local.size() == (0, 0)


def test_two_processes_do_not_share_an_outbox(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", MemoryBus(), most=2**20)
    with pytest.raises(ConfigurationError, match="another process"):
        Outbox(tmp_path / "outbox.sqlite", MemoryBus(), most=2**20)
    outbox.close()


def test_reading_pruned_entries_raises_offset_lost(tmp_path: Path) -> None:
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        bus.publish([record(number) for number in range(5)], timeout=5)
        bus.prune({Partition(PAIRS, 0): 2})
        assert [entry.value for entry in bus.read({Partition(PAIRS, 0): 2}, limit=9, wait=0)] == [b"3", b"4"]
        assert bus.size() == (2, 2)
        with pytest.raises(OffsetLost):
            bus.read({Partition(PAIRS, 0): 1}, limit=9, wait=0)
        assert bus.publish([record(5)], timeout=5) == [Position(Partition(PAIRS, 0), 5)]


def test_a_temporarily_full_disk_does_not_stop_forwarding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.bus.outbox.RETRY_AFTER", 0.01)
    monkeypatch.setattr("streams.bus.outbox.PRUNE_EVERY", 0.0)
    usual, failures = SQLiteBus.prune, [Overloaded("the disk is full")] * 3

    def prune(local: SQLiteBus, upto: Mapping[Partition, int]) -> None:
        if failures:
            raise failures.pop()
        usual(local, upto)

    monkeypatch.setattr(SQLiteBus, "prune", prune)
    bus = Shaky()
    bus.back.set()
    outbox = Outbox(tmp_path / "outbox.sqlite", bus, most=2**20)
    for number in range(6):
        outbox.publish([record(number)], timeout=5)
        arrived(bus, number + 1)
    outbox.close()
    assert not failures
    assert arrived(bus, 6) == [str(number).encode() for number in range(6)]
    with SQLiteBus(tmp_path / "outbox.sqlite") as local:
        assert local.size() == (0, 0)
