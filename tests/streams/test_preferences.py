"""Sequence numbers on feedback.preferences: repeats are skipped, gaps detected, deposed hubs ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.events import Event, PreferenceJoined, SequenceGap, Watermark, advance
from streams.bus.protocol import records_of
from streams.bus.resume import PARTITION, resume
from tests.streams.examples import claimed, joined
from tests.streams.memory_bus import MemoryBus


def taken(events: list[Event], watermark: Watermark = Watermark()) -> list[tuple[int, int]]:
    numbers = []
    for event in events:
        watermark, numbered = advance(watermark, event)
        if numbered is not None:
            numbers.append((numbered.epoch, numbered.sequence))
    return numbers


def test_repeats_are_skipped_and_a_gap_is_detected() -> None:
    assert taken([claimed(1), joined(1), joined(1), joined(2), joined(1), joined(3)]) == [(1, 1), (1, 2), (1, 3)]
    with pytest.raises(SequenceGap, match="number 3 came after 1"):
        taken([joined(1), joined(3)])


def test_what_a_hub_publishes_after_another_has_claimed_is_ignored() -> None:
    events = [claimed(1), joined(1), claimed(2), joined(2, epoch=1), joined(2, epoch=2), joined(3, epoch=1), joined(3, epoch=2)]
    assert taken(events) == [(1, 1), (2, 2), (2, 3)]


@given(st.data())
def test_with_any_repeats_each_number_is_taken_once_in_order(data: st.DataObject) -> None:
    log: list[Event] = []
    sequence = 0
    for epoch in range(1, data.draw(st.integers(1, 4)) + 1):
        log.append(claimed(epoch))
        for _ in range(data.draw(st.integers(0, 4))):
            sequence += 1
            log.append(joined(sequence, epoch))
    with_repeats: list[Event] = []
    for i in range(len(log)):
        with_repeats.append(log[i])
        if data.draw(st.booleans()):
            with_repeats += log[data.draw(st.integers(0, i)) : i + 1]  # a producer that retries
    assert taken(with_repeats) == taken(log) == [(event.epoch, event.sequence) for event in log if isinstance(event, PreferenceJoined)]


def test_a_reader_resumes_at_its_mark_with_epoch_and_number_of_the_entry_there() -> None:
    bus = MemoryBus()
    bus.publish(records_of([claimed(3), joined(1, 3), joined(2, 3), claimed(5), joined(3, 5)]), timeout=1)
    assert resume(bus, "reader") == (-1, Watermark())
    bus.mark("reader", {PARTITION: 2})
    assert resume(bus, "reader") == (2, Watermark(3, 2))
    bus.mark("reader", {PARTITION: 3})  # not a numbered entry
    assert resume(bus, "reader") == (-1, Watermark())
    bus.mark("reader", {PARTITION: 17})  # of another log
    assert resume(bus, "reader") == (-1, Watermark())
