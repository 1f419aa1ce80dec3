"""The collector's pause: nothing is collected within it, and it is as it was afterwards. Full collections come when they are told to."""

import gc
import threading
import weakref

import pytest

from streams import gc_pause
from streams.gc_pause import ScheduledFullCollections, gc_paused


class Circle:
    """Garbage that only the collector can take away."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_of_a_pause_goes_when_it_ends() -> None:
    with gc_paused():
        circle = weakref.ref(Circle())
        assert not gc.isenabled()
        assert circle() is not None
    assert gc.isenabled()
    assert circle() is None


def test_a_pause_that_fails_or_lies_within_another_leaves_the_collector_as_it_was() -> None:
    with pytest.raises(RuntimeError), gc_paused():
        raise RuntimeError("the batch failed")
    assert gc.isenabled()
    with gc_paused():
        with gc_paused():
            pass
        assert not gc.isenabled()


def test_full_collections_are_made_by_hand_until_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc_pause, "FULL_EVERY", 0.0)
    before, stop = gc.get_threshold(), threading.Event()
    gc.collect()
    gc.freeze()  # what the other tests left would make a quarter too many to be new here
    try:
        collections = ScheduledFullCollections(stop)
        circle = Circle()
        gc.collect()  # it is old now
        gone = weakref.ref(circle)
        del circle
        for _ in range(20):
            young: list[list[object]] = [[] for _ in range(20_000)]  # more than enough to bring a full one about
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


def test_what_is_left_out_is_walked_through_no_more() -> None:
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
