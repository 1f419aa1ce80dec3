"""Each crossed threshold requests one run, however updates are batched; with few judgments a run is requested by time."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import EventUnreadable
from storage.events import Event
from storage.events.wire import encode
from streams.bus.protocol import Record, records_of
from streams.bus.topics import REWARD
from streams.stations.runner import HandlerStation
from streams.stations.settings import RetrainingRule
from streams.stations.trigger import due_by_time, on_reward_updated
from tests.streams.examples import PLAN, at, updated
from tests.streams.memory_bus import MemoryBus

RULE = RetrainingRule(every=200, after_days=7, at_least=50)


@given(st.lists(st.integers(1, 450), min_size=1, max_size=20), st.integers(1, 300))
def test_an_update_that_crosses_thresholds_requests_one_run_for_the_last_of_them(steps: list[int], every: int) -> None:
    rule = RetrainingRule(every=every)
    seen, asked, crossed = 0, [], []
    for step in steps:
        asked += [r.k for r in on_reward_updated(updated(seen, seen + step), rule, PLAN)]
        crossed += [(seen + step) // every] if (seen + step) // every > seen // every else []
        seen += step
    assert asked == crossed
    assert asked == sorted(set(asked))


def test_a_repeated_update_repeats_the_same_request_to_the_byte() -> None:
    update = updated(150, 650)
    ((first,), (second,)) = (list(on_reward_updated(update, RULE, PLAN)) for _ in range(2))
    assert encode(first) == encode(second)
    assert first.k == 3


def test_crossing_a_threshold_again_after_a_removal_requests_the_same_run() -> None:
    (first,) = on_reward_updated(updated(199, 200), RULE, PLAN)
    assert list(on_reward_updated(updated(200, 199), RULE, PLAN)) == []
    (again,) = on_reward_updated(updated(199, 200), RULE, PLAN)
    assert again.run_id == first.run_id


def test_updates_are_gathered_between_two_calls_of_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = MemoryBus()
    answered: list[int] = []

    def answer(events: Sequence[Event]) -> list[Event]:
        answered.append(len(events))
        return []

    station = HandlerStation(bus, "trigger", [REWARD], answer, batch=100, gather=10.0)
    slept: list[float] = []
    monkeypatch.setattr("streams.stations.runner.time.sleep", slept.append)
    for seen in range(3):
        bus.publish(records_of([updated(seen, seen + 1)]), timeout=1)
        station.step(0.5)
    assert answered == [1, 1, 1]
    assert slept == [0, 0.5, 0.5], "no longer than ``wait``, and not before the first"


def test_after_a_week_with_fifty_judgments_one_run_is_requested_by_time() -> None:
    bus = MemoryBus()
    week = timedelta(days=7)
    assert due_by_time(bus, RULE, PLAN, at(0)) == []
    bus.publish(records_of([updated(0, 1), updated(1, 49, seconds=60)]), timeout=1)
    assert due_by_time(bus, RULE, PLAN, at(0) + week) == [], "too few"
    bus.publish(records_of([updated(49, 50, seconds=120)]), timeout=1)
    assert due_by_time(bus, RULE, PLAN, at(-1) + week) == [], "too soon"
    (request,) = due_by_time(bus, RULE, PLAN, at(0) + week)
    assert (request.threshold, request.k, request.through_sequence) == ("time", 1, 50)
    bus.publish(records_of([request]), timeout=1)
    assert due_by_time(bus, RULE, PLAN, at(0) + week) == []


def test_a_run_by_count_restarts_the_week_and_the_count_of_judgments() -> None:
    bus = MemoryBus()
    week = timedelta(days=7)
    crossing = updated(199, 200, seconds=3600)
    (by_count,) = on_reward_updated(crossing, RULE, PLAN)
    bus.publish(records_of([updated(0, 199), crossing, by_count, updated(200, 249, seconds=7200)]), timeout=1)
    assert due_by_time(bus, RULE, PLAN, at(3600) + week) == [], "49 since"
    bus.publish(records_of([updated(249, 250, seconds=7201)]), timeout=1)
    assert due_by_time(bus, RULE, PLAN, at(3599) + week) == [], "not a week since"
    (by_time,) = due_by_time(bus, RULE, PLAN, at(3600) + week)
    assert by_time.run_id != by_count.run_id


def test_unreadable_entries_at_the_start_of_the_topic_do_not_prevent_a_run_by_time() -> None:
    bus = MemoryBus()
    bus.publish([Record(REWARD.name, b"", b"{")] * 150, timeout=1)
    bus.publish(records_of([updated(0, 60)]), timeout=1)
    assert due_by_time(bus, RULE, PLAN, at(0) + timedelta(days=6)) == []
    assert len(due_by_time(bus, RULE, PLAN, at(0) + timedelta(days=8))) == 1


def test_an_update_that_crosses_implausibly_many_thresholds_is_refused() -> None:
    with pytest.raises(EventUnreadable, match="thresholds at once"):
        list(on_reward_updated(updated(0, 2**62), RULE, PLAN))


def test_a_run_by_time_is_requested_however_many_updates_there_are() -> None:
    bus = MemoryBus()
    rule = RetrainingRule(every=100_000, after_days=7, at_least=5_000)
    bus.publish(records_of([updated(n, n + 1, seconds=n) for n in range(4_999)]), timeout=1)
    assert due_by_time(bus, rule, PLAN, at(0) + timedelta(days=30)) == []
    bus.publish(records_of([updated(n, n + 1, seconds=n) for n in range(4_999, 6_000)]), timeout=1)
    (request,) = due_by_time(bus, rule, PLAN, at(0) + timedelta(days=30))
    assert (request.threshold, request.through_sequence) == ("time", 6_000)


def test_a_worker_that_checks_later_requests_the_same_run_to_the_byte() -> None:
    bus = MemoryBus()
    bus.publish(records_of([updated(0, 30), updated(30, 60, seconds=60)]), timeout=1)
    (early,) = due_by_time(bus, RULE, PLAN, at(0) + timedelta(days=7))
    bus.publish(records_of([updated(60, 70, seconds=8 * 86_400)]), timeout=1)
    (late,) = due_by_time(bus, RULE, PLAN, at(0) + timedelta(days=9))
    assert encode(early) == encode(late)
    assert early.through_sequence == 60


def test_a_request_stamped_in_the_future_does_not_delay_the_next_one() -> None:
    bus = MemoryBus()
    (ahead,) = on_reward_updated(updated(199, 200, seconds=400 * 86_400), RULE, PLAN)
    bus.publish(records_of([updated(199, 200), ahead, updated(200, 260, seconds=60)]), timeout=1)
    assert due_by_time(bus, RULE, PLAN, at(0) + timedelta(days=6)) == []
    (request,) = due_by_time(bus, RULE, PLAN, at(0) + timedelta(days=8))
    assert request.through_sequence == 260
