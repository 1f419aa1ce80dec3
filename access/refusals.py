"""Refusals of known callers, counted for the audit trail: an event for the first of a kind, then at most one a minute with their number.

Those of unknown callers are only in the process's log: otherwise anybody could fill the one that is kept for ever.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from storage.events import RequestsRefused

INTERVAL = 60.0  # seconds between two events about the same thing


class Refusal(NamedTuple):
    """What was refused to whom: the route's method and path, and the status of the answer."""

    caller: str
    request: str
    status: int


class Refusals:
    """Counts refusals. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._counts: Counter[Refusal] = Counter()
        self._published: dict[Refusal, float] = {}

    def note(self, refusal: Refusal) -> None:
        with self._guard:
            self._counts[refusal] += 1

    def due(self, *, last: bool = False) -> list[RequestsRefused]:
        """The events to publish now; all that remain, if it is the ``last`` time."""
        now = self._clock()
        with self._guard:
            due = [each for each in self._counts if last or now - self._published.get(each, -INTERVAL) >= INTERVAL]
            self._published = {each: at for each, at in self._published.items() if now - at < INTERVAL} | dict.fromkeys(due, now)
            return [RequestsRefused(source="product", **each._asdict(), times=self._counts.pop(each)) for each in due]
