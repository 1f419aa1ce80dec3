"""A run in a child process: progress, logs and errors arrive in the parent, and neither process outlives the other for long."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.errors import DataRefused, Overloaded
from streams.child import ChildDied, Progress, in_child

pytestmark = pytest.mark.processes

Said = list[tuple[str, int, int, dict[str, float], dict[str, str]]]


def nothing(*said: object) -> None:
    """A no-op progress callback."""


def add(one: int, two: int, progress: Progress) -> tuple[int, int]:
    progress("train", 1, 2, {"loss": 0.5}, {})
    logging.getLogger("work").warning("half of %d", 2)
    progress("train", 2, 2, {"loss": 0.25}, {"made": "d" * 64})
    return one + two, os.getpid()


def refuse(progress: Progress) -> None:
    raise DataRefused("too little to train on")


def fill_the_disk(progress: Progress) -> None:
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise RuntimeError("the file cannot be written") from error


class Odd(Exception):
    """Can be pickled but not unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


def be_odd(progress: Progress) -> None:
    error = Odd(1, 2)
    error.add_note("in the audit length")
    raise error


def die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def go_on(path: str, progress: Progress) -> None:
    Path(path).write_text(str(os.getpid()))
    progress("train", 1, 9, {}, {})
    time.sleep(60)


def gone(pid: int) -> bool:
    """Whether the process has ended; it may be a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_result_progress_and_log_arrive_here(caplog: pytest.LogCaptureFixture) -> None:
    said: Said = []
    total, pid = in_child(add, 1, 2, progress=lambda *words: said.append(words))
    assert total == 3
    assert pid != os.getpid()
    assert said == [("train", 1, 2, {"loss": 0.5}, {}), ("train", 2, 2, {"loss": 0.25}, {"made": "d" * 64})]
    assert caplog.messages == ["half of 2"]


def test_an_error_keeps_its_class_and_says_where_it_was_raised() -> None:
    with pytest.raises(DataRefused, match="too little to train on") as caught:
        in_child(refuse, progress=nothing)
    assert "in refuse" in caught.value.__notes__[0]


def test_an_error_with_a_temporary_cause_is_raised_as_overloaded() -> None:
    with pytest.raises(Overloaded, match="the disk is full"):
        in_child(fill_the_disk, progress=nothing)


def test_an_error_that_cannot_be_unpickled_is_reported_by_name() -> None:
    with pytest.raises(RuntimeError, match="Odd: 1 2") as caught:
        in_child(be_odd, progress=nothing)
    assert caught.value.__notes__[0] == "in the audit length"


def test_a_killed_child_raises_child_died() -> None:
    with pytest.raises(ChildDied, match="ended with code -9"):
        in_child(die, progress=nothing)


def test_an_exception_in_the_progress_callback_kills_the_child(tmp_path: Path) -> None:
    def stop(*said: object) -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        in_child(go_on, str(tmp_path / "pid"), progress=stop)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    words = (
        "from tests.streams.test_child import go_on, nothing\nfrom streams.child import in_child\n"
        f"in_child(go_on, {str(path)!r}, progress=nothing)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", words])
    until = time.monotonic() + 60
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    pid, until = int(path.read_text()), time.monotonic() + 30
    while not gone(pid):
        assert time.monotonic() < until, "the child outlives its parent"
        time.sleep(0.05)
