"""Threads that publish at the same time share one commit; each gets its own positions, or the error."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.errors import Overloaded
from streams.bus.group_commit import GroupCommit
from streams.bus.protocol import Partition, Position, Record


class Log:
    """A log in memory whose first commit lasts until ``go`` is set."""

    def __init__(self) -> None:
        self.commits: list[list[Record]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.failing: Exception | None = None

    def commit(self, records: Sequence[Record], deadline: float) -> list[Position]:
        self.begun.set()
        assert self.go.wait(10)
        if self.failing is not None:
            raise self.failing
        before = sum(map(len, self.commits))
        self.commits.append(list(records))
        return [Position(Partition(record.topic, 0), before + i) for i, record in enumerate(records)]


def record(i: int) -> Record:
    return Record("topic", b"", str(i).encode())


def until_waiting(group: GroupCommit, n: int) -> None:
    for _ in range(1000):
        if len(group._waiting) == n:
            return
        threading.Event().wait(0.01)
    raise TimeoutError(f"{len(group._waiting)} requests wait, not {n}")


def test_what_waits_for_a_commit_is_committed_together_and_each_gets_its_positions() -> None:
    log = Log()
    group = GroupCommit(log.commit)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(group.publish, [record(0)], 10)
        assert log.begun.wait(10)
        others = [pool.submit(group.publish, [record(10 * i), record(10 * i + 1)], 10) for i in range(1, 9)]
        until_waiting(group, 8)
        log.go.set()
        assert [position.offset for position in first.result()] == [0]
        found = [other.result() for other in others]
    assert [len(commit) for commit in log.commits] == [1, 16]
    flat = [each for commit in log.commits for each in commit]
    for i, positions in enumerate(found, 1):
        assert [flat[position.offset] for position in positions] == [record(10 * i), record(10 * i + 1)]


def test_an_error_is_that_of_every_request_of_its_group_and_the_next_one_is_committed() -> None:
    log = Log()
    group = GroupCommit(log.commit)
    with ThreadPoolExecutor(4) as pool:
        some = [pool.submit(group.publish, [record(i)], 10) for i in range(4)]
        assert log.begun.wait(10)
        until_waiting(group, 3)
        log.failing = Overloaded("the disk is full")
        log.go.set()
        for each in some:
            with pytest.raises(Overloaded, match="the disk is full"):
                each.result()
    log.failing = None
    assert len(group.publish([record(4)], 10)) == 1


def test_a_request_whose_time_is_over_before_its_commit_begins_is_refused_and_not_written() -> None:
    log = Log()
    group = GroupCommit(log.commit)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(group.publish, [record(0)], 10)
        assert log.begun.wait(10)
        with pytest.raises(Overloaded, match=r"busy for 0\.05 s"):
            group.publish([record(1)], 0.05)
        log.go.set()
        first.result()
    assert log.commits == [[record(0)]]


def test_a_commit_that_times_out_for_one_is_repeated_for_those_that_may_wait_longer() -> None:
    commits: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def commit(records: Sequence[Record], deadline: float) -> list[Position]:
        commits.append(len(records))
        if len(commits) == 1:
            begun.set()
            assert go.wait(10)
        if len(commits) == 2:  # locked by another process until the first deadline
            threading.Event().wait(1.2)
            raise Overloaded("locked")
        return [Position(Partition(record.topic, 0), i) for i, record in enumerate(records)]

    group = GroupCommit(commit)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(group.publish, [record(0)], 10)
        assert begun.wait(10)
        short, long = pool.submit(group.publish, [record(1)], 1), pool.submit(group.publish, [record(2)], 10)
        until_waiting(group, 2)
        go.set()
        first.result()
        with pytest.raises(Overloaded, match="locked"):
            short.result()
        assert len(long.result()) == 1
    assert commits == [1, 2, 1]


def test_after_an_error_that_nobody_expects_the_next_one_is_committed() -> None:
    begun, go, failing = threading.Event(), threading.Event(), [False]

    def commit(records: Sequence[Record], deadline: float) -> list[Position]:
        begun.set()
        assert go.wait(10)
        if failing[0]:
            threading.Event().wait(0.4)  # longer than one of them may wait
            failing[0] = False
            raise RuntimeError("the file is closed")
        return [Position(Partition(record.topic, 0), i) for i, record in enumerate(records)]

    group = GroupCommit(commit)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(group.publish, [record(0)], 10)
        assert begun.wait(10)
        leader = pool.submit(group.publish, [record(1)], 10)
        until_waiting(group, 1)
        short = pool.submit(group.publish, [record(2)], 0.3)
        until_waiting(group, 2)
        failing[0] = True
        go.set()
        with pytest.raises(RuntimeError, match="the file is closed"):
            (first.result(), leader.result())
        with pytest.raises(Overloaded):
            short.result()
    assert len(group.publish([record(3)], 1)) == 1
