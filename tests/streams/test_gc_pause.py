"""Nothing is collected during a pause, and the collector's state is restored after it; full collections run on schedule."""

import gc
import threading
import weakref

import pytest

from streams import gc_pause
from streams.gc_pause import ScheduledFullCollections, gc_paused


class Circle:
    """A reference cycle, which only the garbage collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_of_a_pause_is_collected_when_it_ends() -> None:
    with gc_paused():
        circle = weakref.ref(Circle())
        assert not gc.isenabled()
        assert circle() is not None
    assert gc.isenabled()
    assert circle() is None


def test_a_failed_or_nested_pause_restores_the_collectors_state() -> None:
    with pytest.raises(RuntimeError), gc_paused():
        raise RuntimeError("the batch failed")
    assert gc.isenabled()
    with gc_paused():
        with gc_paused():
            pass
        assert not gc.isenabled()


def test_full_collections_run_only_on_schedule_until_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc_pause, "FULL_EVERY", 0.0)
    before, stop = gc.get_threshold(), threading.Event()
    gc.collect()
    gc.freeze()  # with the objects of other tests, a quarter would be too many to allocate here
    try:
        collections = ScheduledFullCollections(stop)
        circle = Circle()
        gc.collect()  # it is old now
        gone = weakref.ref(circle)
        del circle
        for _ in range(20):
            young: list[list[object]] = [[] for _ in range(20_000)]  # more than enough to trigger a full collection
            gc.collect(1)
        assert young
        assert gone() is not None
        collections.step(0)
        assert gone() is None
        stop.set()
        collections.close()
    finally:
        gc.unfreeze()
    assert gc.get_threshold() == before


def test_excluded_objects_are_not_collected() -> None:
    circle = Circle()
    gc_pause.exclude_loaded_objects()
    try:
        gone = weakref.ref(circle)
        del circle
        later = weakref.ref(Circle())
        gc.collect()
        assert gone() is not None
        assert later() is None
    finally:
        gc.unfreeze()
