"""The bus contract on each implementation, and what only the SQLite log guarantees."""

import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.errors import ConfigurationError, Overloaded
from streams.bus import sqlite
from streams.bus.open import open_bus
from streams.bus.protocol import Bus, Partition, Record
from streams.bus.sqlite import SQLiteBus
from streams.bus.wakeup import MAX_SOCKET_PATH, bell_folder
from tests.streams.bus_contract import PROMISES, everything, start
from tests.streams.memory_bus import MemoryBus

PAIRS = "feedback.pairs"


@pytest.fixture(params=["sqlite", "memory", "kafka"])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bus]:
    match request.param:
        case "sqlite":
            opened: Bus = open_bus(f"sqlite:///{tmp_path / 'bus.sqlite'}")
        case "memory":
            opened = MemoryBus()
        case _:
            opened = open_bus(request.getfixturevalue("narrow_kafka"))
    yield opened
    opened.close()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_the_bus_keeps_its_contract(promise: Callable[[Bus], None], bus: Bus) -> None:
    promise(bus)


def _publish_until_killed(path: Path, acknowledged: int) -> None:
    bus = SQLiteBus(path)
    number = 0
    while True:
        bus.publish([Record(PAIRS, b"k", f"{number + i}".encode()) for i in range(5)], timeout=30)
        number += 5
        os.write(acknowledged, f"{number - 1}\n".encode())


def test_a_publisher_killed_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path, kept = tmp_path / "bus.sqlite", 0
    for _ in range(4):
        reading, writing = os.pipe()
        process = multiprocessing.get_context("fork").Process(target=_publish_until_killed, args=(path, writing))
        process.start()
        os.close(writing)
        said = b""
        while said.count(b"\n") < 20:  # well under way
            said += os.read(reading, 4096)
        os.kill(process.pid or 0, signal.SIGKILL)
        while more := os.read(reading, 4096):
            said += more
        os.close(reading)
        process.join()
        last = int(said.split(b"\n")[-2])
        with SQLiteBus(path) as bus:
            found = [int(entry.value) for entry in everything(bus, PAIRS)][kept:]
        assert found[: last + 1] == list(range(last + 1))
        assert len(found) % 5 == 0, "a batch is appended completely or not at all"
        kept += len(found)


def _answer(path: Path) -> None:
    with SQLiteBus(path) as bus:
        for i in range(20):
            bus.read({Partition(PAIRS, 0): i - 1}, limit=1, wait=30)
            bus.publish([Record("feedback.features", b"", b"")], timeout=30)


def test_a_record_wakes_a_reader_in_another_process_faster_than_polling(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"
    times = []
    with SQLiteBus(path) as bus:
        process = multiprocessing.get_context("fork").Process(target=_answer, args=(path,))
        process.start()
        for i in range(20):
            started = time.monotonic()
            bus.publish([Record(PAIRS, b"", b"")], timeout=30)
            assert bus.read({Partition("feedback.features", 0): i - 1}, limit=1, wait=30)
            times.append(time.monotonic() - started)
        process.join(timeout=30)
    assert sorted(times)[10] < 0.05, "the round trip takes less than one polling interval"


def test_bells_of_dead_processes_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"

    def die_waiting() -> None:
        bus = SQLiteBus(path)
        bus.read(start(bus, PAIRS), limit=1, wait=0)
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=die_waiting)
    process.start()
    process.join()
    assert len(list(bell_folder(path).iterdir())) == 1
    with SQLiteBus(path) as bus:
        bus.publish([Record(PAIRS, b"", b"x")], timeout=5)
        assert list(bell_folder(path).iterdir()) == []


def test_the_bells_of_a_log_in_a_deep_folder_have_a_short_path(tmp_path: Path) -> None:
    path = tmp_path / ("deep" * 30) / "bus.sqlite"
    assert len(str(bell_folder(path))) + 20 <= MAX_SOCKET_PATH
    with SQLiteBus(path) as bus:
        bus.publish([Record(PAIRS, b"", b"x")], timeout=5)
        assert [entry.value for entry in everything(bus, PAIRS)] == [b"x"]


def test_a_log_locked_by_another_program_is_opened_and_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that ``replay`` can read the log of a process that stands still within a transaction."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        bus.publish([Record(PAIRS, b"", b"x")], timeout=5)
    other = sqlite3.connect(tmp_path / "bus.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        assert [entry.value for entry in everything(bus, PAIRS)] == [b"x"]
    other.execute("ROLLBACK")
    other.close()


def test_publishing_to_a_log_locked_by_another_program_raises_overloaded(tmp_path: Path) -> None:
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        other = sqlite3.connect(tmp_path / "bus.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Overloaded, match="try again"):
            bus.publish([Record(PAIRS, b"", b"x")], timeout=0.05)
        other.execute("ROLLBACK")
        bus.publish([Record(PAIRS, b"", b"x")], timeout=5)
        assert len(everything(bus, PAIRS)) == 1
        other.close()


def test_another_programs_database_is_not_taken_for_a_log(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(ConfigurationError, match="another program"):
        SQLiteBus(tmp_path / "other.sqlite")
    (tmp_path / "text").write_text("no database at all, and long enough to be looked at as one" * 20)
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        SQLiteBus(tmp_path / "text")


def test_an_unknown_bus_scheme_is_refused_with_the_supported_ones() -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///path"):
        open_bus("redis://localhost")
