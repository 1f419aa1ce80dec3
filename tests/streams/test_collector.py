"""The collector's pause: nothing is collected within it, and it is as it was afterwards."""

import gc
import weakref

import pytest

from streams.collector import collector_off


class Circle:
    """Garbage that only the collector can take away."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_of_a_pause_goes_when_it_ends() -> None:
    with collector_off():
        circle = weakref.ref(Circle())
        assert not gc.isenabled()
        assert circle() is not None
    assert gc.isenabled()
    assert circle() is None


def test_a_pause_that_fails_or_lies_within_another_leaves_the_collector_as_it_was() -> None:
    with pytest.raises(RuntimeError), collector_off():
        raise RuntimeError("the batch failed")
    assert gc.isenabled()
    with collector_off():
        with collector_off():
            pass
        assert not gc.isenabled()
