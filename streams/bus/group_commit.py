"""Group commit: what several threads publish at the same time is appended in one transaction, since each costs one flush to the disk.

The first thread commits its own records; those that come meanwhile wait, and one of them then commits for all that wait.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.errors import Overloaded
from streams.bus.protocol import Position, Record

Commit = Callable[[Sequence[Record], float], list[Position]]  # records and the time on the monotonic clock until which it may take


@dataclass(eq=False)
class _Request:
    records: Sequence[Record]
    deadline: float
    positions: list[Position] | None = None
    error: Overloaded | None = None

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
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []
        self._committing = False

    def publish(self, records: Sequence[Record], timeout: float) -> list[Position]:
        """The positions of ``records`` once they are committed; ``Overloaded`` if that has not begun within ``timeout`` seconds."""
        own = _Request(records, time.monotonic() + timeout)
        with self._changed:
            self._waiting.append(own)
        while not own.done:
            if group := self._next_group(own, timeout):
                try:
                    self._commit_group(group)
                finally:
                    with self._changed:
                        self._waiting[:0] = [each for each in group if not each.done]
                        self._committing = False
                        self._changed.notify_all()
        return own.result()

    def _next_group(self, own: _Request, timeout: float) -> list[_Request]:
        """The requests that this thread has to commit; none if another one has committed its own."""
        with self._changed:
            while self._committing and not own.done:
                left = own.deadline - time.monotonic()
                if left <= 0 and own in self._waiting:
                    self._waiting.remove(own)
                    raise Overloaded(f"the log was busy for {timeout:g} s; try again")
                self._changed.wait(left if left > 0 else None)  # without a limit once it is being committed
            if own.done:
                return []
            self._committing = True
            group, self._waiting = self._waiting, []
            return group

    def _commit_group(self, group: Sequence[_Request]) -> None:
        deadline = min(each.deadline for each in group)
        error = Overloaded("the commit failed; try again")  # in the thread that commits, what failed is raised
        positions: list[Position] = []
        try:
            positions = self._commit([record for each in group for record in each.records], deadline)
        except Overloaded as caught:
            error = caught
        finally:
            now, begin = time.monotonic(), 0
            for each in group:
                if positions:
                    each.positions = positions[begin : begin + len(each.records)]
                    begin += len(each.records)
                elif not deadline <= now < each.deadline:
                    each.error = error
