"""Hold Python's garbage collector off while a batch is worked on.

A batch makes tens of thousands of objects that live until its commit, and every few hundred of them the collector would walk through those
that are there: as much work as decoding. Events and rows are trees, which go without it as soon as nobody names them; so what a batch made
should be out of reach when the pause ends.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """No collection within, and one of the young objects after it. Threads share the collector, and theirs waits as long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
            gc.collect(0)
