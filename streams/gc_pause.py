"""Hold Python's garbage collector off while a batch is worked on, its full collections back to one in a while, and both from what stays.

A batch makes tens of thousands of objects that live until its commit, and every few hundred of them the collector would walk through those
that are there: as much work as decoding. Events and rows are trees, which go without it as soon as nobody names them; so what a batch made
should be out of reach when the pause ends.

A full collection walks through everything there is, .2 s with the pairs of an hour in memory, and by itself comes whenever a quarter of
it is new: in a hub that fills up twice a minute, with judgments waiting meanwhile.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

FULL_EVERY = 600.0  # seconds
NEVER = 2**31 - 1


def exclude_loaded_objects() -> None:
    """Leave what is there now out of all collections to come: a started process's modules, .2 s of each full one where torch is loaded."""
    gc.collect()
    gc.freeze()


class ScheduledFullCollections:
    """A station that makes the full collections instead of Python, until ``stop``."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._before = gc.get_threshold()
        gc.set_threshold(*self._before[:2], NEVER)

    def step(self, wait: float) -> None:
        """Wait for the next one."""
        if not self._stop.wait(FULL_EVERY):
            gc.collect()

    def close(self) -> None:
        gc.set_threshold(*self._before)


@contextmanager
def gc_paused() -> Iterator[None]:
    """No collection within, and one of the young objects after it. Threads share the collector, and theirs waits as long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
            gc.collect(0)
