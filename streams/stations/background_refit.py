"""Computes reconciliations beside the learning: one takes longer the more judgments there are, and no judgment should wait for it.

What is computed ahead is what ``reconcile`` gives, or it is not used; so whether a thread was quick enough moves no weight.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from trainers.reward.online.learn import Head, held_at, reconcile

PAUSES = 2.0  # times what was computed since the last pause: a third of one core at most, until it is to hurry


class Throttle:
    """The pauses of a computation that has time, until somebody waits for it or soon will."""

    def __init__(self) -> None:
        self._hurry = threading.Event()
        self._since = time.monotonic()

    def __call__(self) -> None:
        self._hurry.wait(PAUSES * (time.monotonic() - self._since))
        self._since = time.monotonic()

    def hurry(self) -> None:
        """Make no pause from here on."""
        self._hurry.set()


class BackgroundRefit:
    """The ``reconciled`` of ``learn_all`` with a thread of its own; tell it of the head after each batch."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reconciliation")
        self._base: Head | None = None
        self._found: Future[Head] | None = None
        self._pace = Throttle()

    def begin(self, head: Head, *, hurry: bool = False) -> None:
        """Start where the head has passed a number to reconcile at and not yet the one to take that over at, which may come in a hurry."""
        every, sequence = head.settings.reconcile_every, head.sequence
        through = sequence - sequence % every
        started = self._base is not None and self._base.sequence == through
        if through > 0 and sequence - through < head.settings.taken_over_after and not started:
            self._pace.hurry()
            self._base, self._pace = held_at(head, through), Throttle()
            self._found = self._pool.submit(reconcile, self._base, self._pace)
        if hurry:
            self._pace.hurry()

    def __call__(self, base: Head) -> Head:
        """``reconcile(base)``, computed already unless it came too soon or a judgment was taken back meanwhile."""
        begun, found = self._base, self._found
        if begun is not None and found is not None and _same_judgments(begun, base):
            self._base = self._found = None
            self._pace.hurry()
            return found.result()
        return reconcile(base)

    def close(self) -> None:
        """Leave off; a computation under way ends by itself."""
        self._pace.hurry()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _same_judgments(one: Head, other: Head) -> bool:
    return (
        one.head_id == other.head_id
        and one.sequence == other.sequence
        and np.array_equal(one.history.rows()["sequence"], other.history.rows()["sequence"])
    )
