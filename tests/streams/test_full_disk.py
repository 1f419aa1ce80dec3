"""A temporarily full disk, at each place that writes: nothing is lost or published twice, and processing resumes by itself."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.errors import FeedbackLoopError, Overloaded
from streams.bus.protocol import Partition, Record
from streams.bus.sqlite import SQLiteBus
from streams.stations.runner import Runner

pytestmark = pytest.mark.processes

TOPIC = "feedback.judgments"
FIRST = Partition(TOPIC, 0)
NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/file")


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SQLiteBus]:
    with SQLiteBus(tmp_path / "bus.sqlite") as opened:
        yield opened


def limit(bus: SQLiteBus, pages: int) -> None:
    bus._writer.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_log_refuses_and_takes_entries_again_when_there_is_room(bus: SQLiteBus) -> None:
    bus.publish([Record(TOPIC, b"", b"before")], timeout=1)
    limit(bus, 12)
    large = Record(TOPIC, b"", b"x" * 100_000)
    for _ in range(2):  # twice, to check that the first failure leaves no transaction open
        with pytest.raises(Overloaded, match="full"):
            bus.publish([Record(TOPIC, b"", b"small"), large], timeout=1)
        with pytest.raises(Overloaded, match="the disk is full"):
            bus.mark("r" * 100_000, {FIRST: 0})
    assert [entry.value for entry in bus.read({FIRST: -1}, limit=10, wait=0)] == [b"before"]
    limit(bus, 1_000_000)
    bus.publish([large], timeout=1)
    bus.mark("reader", {FIRST: 1})
    assert [len(entry.value) for entry in bus.read({FIRST: -1}, limit=10, wait=0)] == [6, 100_000]
    assert bus.marked("reader") == {FIRST: 1}


def test_a_commit_that_fails_leaves_no_transaction_open(bus: SQLiteBus) -> None:
    class Failing:
        """A connection whose first commit fails because the disk is full."""

        def __init__(self, connection: Any) -> None:
            self._connection, self.failures = connection, 1

        def execute(self, statement: str, *values: Any) -> Any:
            if statement == "COMMIT" and self.failures:
                self.failures -= 1
                raise NO_SPACE
            return self._connection.execute(statement, *values)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    bus._writer = Failing(bus._writer)  # type: ignore[assignment]
    with pytest.raises(Overloaded, match="the disk is full"):
        bus.mark("reader", {FIRST: 1})
    bus.mark("reader", {FIRST: 2})
    assert bus.marked("reader") == {FIRST: 2}


class Station:
    """Raises these errors, one per step, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.steps = 0

    def step(self, wait: float) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.steps += 1
        time.sleep(0.01)

    def close(self) -> None:
        pass


@pytest.fixture
def runner() -> Iterator[Runner]:
    stop = threading.Event()
    yield (made := Runner(stop))
    stop.set()
    assert made.join(10)


def test_a_station_retries_overloaded_and_reports_it_in_its_health_check(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.stations.runner.OVERLOAD_BACKOFF", 0.3)
    station = Station(Overloaded("the disk is full"))
    runner.start("sink", lambda: station)
    until(lambda: runner.checks["sink"]() == "the disk is full")
    until(lambda: station.steps > 0 and runner.checks["sink"]() is None)
    assert not runner.crashed.is_set()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (duckdb.IOException("IO Error: No space left on device"), Overloaded, "the disk is full"),
        (duckdb.FatalException("FATAL Error: database has been invalidated"), Overloaded, "has to be opened again"),
        (ZeroDivisionError("x"), FeedbackLoopError, "sink crashed: ZeroDivisionError: x"),
    ],
)
def test_a_process_whose_station_cannot_go_on_ends_with_the_reason(
    runner: Runner, error: Exception, kind: type[Exception], words: str
) -> None:
    runner.start("sink", lambda: Station(error))
    until(runner.crashed.is_set)
    assert type(runner.failure) is kind
    assert words in str(runner.failure)
    assert runner.problems["sink"] == str(runner.failure)
