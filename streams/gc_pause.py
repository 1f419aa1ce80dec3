"""Disable the garbage collector during a batch, run full collections on a schedule, and exclude long-lived objects from them.

A batch allocates tens of thousands of objects that live until its commit; collections every few hundred allocations would cost as much as
decoding. Events and rows have no reference cycles and are freed by reference counting, so drop references to them before the pause ends.

A full collection traverses all objects: 0.2 s with an hour of pairs in memory. By default it runs whenever a quarter of the objects is
new, which in a busy hub is twice a minute, while judgments wait.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

FULL_EVERY = 600.0  # seconds
NEVER = 2**31 - 1


def exclude_loaded_objects() -> None:
    """Exclude all current objects from future collections: with torch loaded, a process's modules cost 0.2 s of each full one."""
    gc.collect()
    gc.freeze()


class ScheduledFullCollections:
    """A station that runs full collections every ``FULL_EVERY`` seconds in place of Python's own, until ``stop``."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._before = gc.get_threshold()
        gc.set_threshold(*self._before[:2], NEVER)

    def step(self, wait: float) -> None:
        """Wait for the next collection and run it."""
        if not self._stop.wait(FULL_EVERY):
            gc.collect()

    def close(self) -> None:
        gc.set_threshold(*self._before)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Disable collections, then collect the youngest generation. This affects all threads of the process."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
            gc.collect(0)
