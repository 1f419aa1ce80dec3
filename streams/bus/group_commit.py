"""Group commit: what several threads publish at the same time is appended in one transaction, since each costs one flush to the disk.

The first thread commits its own records; those that come meanwhile wait, and one of them then commits for all that wait.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from storage.errors import Overloaded
from streams.bus.protocol import Position, Record

Commit = Callable[[Sequence[Record], float], list[Position]]  # records and the time on the monotonic clock until which it may take


@dataclass(eq=False)
class _Request:
    records: Sequence[Record]
    deadline: float
    positions: list[Position] | None = None
    error: Overloaded | None = None
    leads: bool = False  # its thread is to commit for all that wait
    waits: threading.Lock = field(default_factory=threading.Lock)  # released once it is done or leads, so that each thread wakes once

    @property
    def done(self) -> bool:
        return self.positions is not None or self.error is not None

    def result(self) -> list[Position]:
        if self.error is not None:
            raise Overloaded(str(self.error)) from self.error  # one of its own for each thread
        assert self.positions is not None
        return self.positions


class GroupCommit:
    """Calls ``commit`` in one thread at a time; an error of a commit is that of all its requests, none of whose records is written.

    Only if it took longer than the first of them may wait, the others are committed again.
    """

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._guard = threading.Lock()
        self._waiting: list[_Request] = []
        self._committing = False

    def publish(self, records: Sequence[Record], timeout: float) -> list[Position]:
        """The positions of ``records`` once they are committed; ``Overloaded`` if that has not begun within ``timeout`` seconds."""
        own = _Request(records, time.monotonic() + timeout)
        own.waits.acquire()
        with self._guard:
            self._waiting.append(own)
            own.leads = not self._committing
            self._committing = True
        if not own.leads:
            self._wait(own, timeout)
        while not own.done:
            with self._guard:
                group, self._waiting = self._waiting, []
            try:
                self._commit_group(group)
            finally:
                self._hand_over(own, group)
        return own.result()

    def _wait(self, own: _Request, timeout: float) -> None:
        """Until the request is done or leads."""
        if own.waits.acquire(timeout=max(own.deadline - time.monotonic(), 0)):
            return
        with self._guard:
            if own in self._waiting and not own.leads:
                self._waiting.remove(own)
                raise Overloaded(f"the log was busy for {timeout:g} s; try again")
        own.waits.acquire()  # without a limit: it is being committed

    def _hand_over(self, own: _Request, group: Sequence[_Request]) -> None:
        """Wake those that are done, and the one that leads next, unless this thread goes on."""
        with self._guard:
            self._waiting[:0] = [each for each in group if not each.done]
            following = own if not own.done else next(iter(self._waiting), None)
            self._committing = following is not None
            if following is not None:
                following.leads = True
        for each in group:
            if each.done and each is not own:
                each.waits.release()
        if following is not None and following is not own:
            following.waits.release()

    def _commit_group(self, group: Sequence[_Request]) -> None:
        deadline = min(each.deadline for each in group)
        error, timed_out = Overloaded("the commit failed; try again"), False  # in the thread that commits, what failed is raised
        positions: list[Position] = []
        try:
            positions = self._commit([record for each in group for record in each.records], deadline)
        except Overloaded as caught:
            error, timed_out = caught, time.monotonic() >= deadline
        finally:
            now, begin = time.monotonic(), 0
            for each in group:
                if positions:
                    each.positions = positions[begin : begin + len(each.records)]
                    begin += len(each.records)
                elif not (timed_out and now < each.deadline):
                    each.error = error
