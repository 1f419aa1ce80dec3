"""The contract of a bus, each promise a function of a fresh bus; ``test_bus.py`` runs all of them on every implementation."""

import threading
import time
from collections.abc import Callable

import pytest

from storage.errors import OffsetLost
from streams.bus.protocol import Bus, Logged, Partition, Record

PAIRS, JUDGMENTS = "feedback.pairs", "feedback.judgments"
PROMISES: list[Callable[[Bus], None]] = []


def promise(function: Callable[[Bus], None]) -> Callable[[Bus], None]:
    PROMISES.append(function)
    return function


def start(bus: Bus, *topics: str) -> dict[Partition, int]:
    return {partition: first - 1 for partition, (first, _) in bus.bounds(topics).items()}


def everything(bus: Bus, *topics: str) -> list[Logged]:
    return bus.read(start(bus, *topics), limit=1_000_000, wait=0)


@promise
def what_is_published_is_read_back_byte_for_byte_in_order_of_its_key(bus: Bus) -> None:
    records = [Record(PAIRS, b"k", bytes([i]) * i) for i in range(50)]
    positions = bus.publish(records, timeout=5)
    read = everything(bus, PAIRS)
    assert [(entry.key, entry.value) for entry in read] == [(record.key, record.value) for record in records]
    assert [(entry.partition, entry.offset) for entry in read] == positions
    assert [position.offset for position in positions] == list(range(50))


@promise
def each_topic_has_its_own_offsets(bus: Bus) -> None:
    positions = bus.publish([Record(PAIRS, b"", b"1"), Record(JUDGMENTS, b"", b"2"), Record(PAIRS, b"", b"3")], timeout=5)
    assert [(position.partition.topic, position.offset) for position in positions] == [(PAIRS, 0), (JUDGMENTS, 0), (PAIRS, 1)]
    assert [entry.value for entry in everything(bus, JUDGMENTS)] == [b"2"]


@promise
def reading_continues_after_the_offset_and_returns_at_most_limit_entries(bus: Bus) -> None:
    bus.publish([Record(PAIRS, b"", str(i).encode()) for i in range(10)], timeout=5)
    after = start(bus, PAIRS)
    seen = []
    while batch := bus.read(after, limit=3, wait=0):
        assert len(batch) <= 3
        after[batch[-1].partition] = batch[-1].offset
        seen += [entry.value for entry in batch]
    assert seen == [str(i).encode() for i in range(10)]


@promise
def bounds_are_the_first_retained_offset_and_the_next_one(bus: Bus) -> None:
    (empty,) = bus.bounds([PAIRS]).values()
    bus.publish([Record(PAIRS, b"", b"x")] * 3, timeout=5)
    (filled,) = bus.bounds([PAIRS]).values()
    assert empty == (0, 0)
    assert filled == (0, 3)


@promise
def an_offset_that_the_log_does_not_hold_is_an_error(bus: Bus) -> None:
    bus.publish([Record(PAIRS, b"", b"x")], timeout=5)
    (partition,) = bus.bounds([PAIRS])
    assert bus.read({partition: 0}, limit=10, wait=0) == []
    with pytest.raises(OffsetLost, match=PAIRS):
        bus.read({partition: 7}, limit=10, wait=0)
    with pytest.raises(OffsetLost, match=PAIRS):
        bus.read({partition: -5}, limit=10, wait=0)


@promise
def a_reader_finds_its_own_marks_and_no_others(bus: Bus) -> None:
    bus.publish([Record(PAIRS, b"", b"x"), Record(JUDGMENTS, b"", b"x")], timeout=5)
    pairs, judgments = Partition(PAIRS, 0), Partition(JUDGMENTS, 0)
    assert bus.marked("embed") == {}
    bus.mark("embed", {pairs: 0, judgments: -1})
    bus.mark("embed", {judgments: 0})
    bus.mark("sink", {pairs: -1})
    assert bus.marked("embed") == {pairs: 0, judgments: 0}
    assert bus.marked("sink") == {pairs: -1}


@promise
def a_reader_that_waits_wakes_at_once(bus: Bus) -> None:
    """A blocked read returns as soon as a record is published, long before its timeout."""
    after, waiting, answers = start(bus, PAIRS), threading.Event(), []

    def wait_for_one() -> None:
        waiting.set()
        found = bus.read(after, limit=10, wait=30)
        answers.append((time.monotonic(), found))

    reader = threading.Thread(target=wait_for_one)
    reader.start()
    waiting.wait()
    published = time.monotonic()
    bus.publish([Record(PAIRS, b"", b"x")], timeout=5)
    reader.join(timeout=10)
    ((answered, found),) = answers
    assert [entry.value for entry in found] == [b"x"]
    assert answered - published < 5


@promise
def a_read_without_new_entries_returns_nothing_after_its_timeout(bus: Bus) -> None:
    after = start(bus, PAIRS)
    bus.publish([Record(JUDGMENTS, b"", b"x")], timeout=5)
    started = time.monotonic()
    assert bus.read(after, limit=10, wait=0.12) == []
    assert time.monotonic() - started >= 0.12


@promise
def concurrent_publishers_lose_nothing_and_each_keeps_its_order(bus: Bus) -> None:
    def publish(name: int) -> None:
        for i in range(0, 60, 3):
            bus.publish([Record(PAIRS, b"k", f"{name}:{i + j}".encode()) for j in range(3)], timeout=30)

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    read = [tuple(map(int, entry.value.split(b":"))) for entry in everything(bus, PAIRS)]
    assert sorted(read) == [(name, i) for name in range(4) for i in range(60)]
    for name in range(4):
        assert [i for author, i in read if author == name] == list(range(60))


@promise
def publishing_no_records_is_a_no_op(bus: Bus) -> None:
    assert bus.publish([], timeout=5) == []
    assert everything(bus, PAIRS) == []
