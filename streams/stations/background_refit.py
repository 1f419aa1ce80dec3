"""Computes reconciliations in a background thread: they take longer the more judgments there are, and learning must not wait for them.

A background result is used only if it equals what ``reconcile`` would return, so thread timing never changes a weight.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from trainers.reward.online.learn import Head, held_at, reconcile

PAUSE_FACTOR = 2.0  # pause this many times the computing time since the last pause: at most a third of one core, until ``hurry``


class Throttle:
    """Throttles a background computation by pauses, until ``hurry`` is called."""

    def __init__(self) -> None:
        self._hurry = threading.Event()
        self._since = time.monotonic()

    def __call__(self) -> None:
        self._hurry.wait(PAUSE_FACTOR * (time.monotonic() - self._since))
        self._since = time.monotonic()

    def hurry(self) -> None:
        """Stop pausing."""
        self._hurry.set()


class BackgroundRefit:
    """The ``reconciled`` argument of ``learn_all``, computed in a thread; call ``begin`` with the head after each batch."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reconciliation")
        self._base: Head | None = None
        self._result: Future[Head] | None = None
        self._throttle = Throttle()

    def begin(self, head: Head, *, hurry: bool = False) -> None:
        """Start a reconciliation if the head is past its sequence number but not yet where its result is taken over.

        With ``hurry`` the take-over is near: do not throttle.
        """
        sequence = head.sequence
        through = head.settings.reconciled_through(sequence)
        started = self._base is not None and self._base.sequence == through
        if through > 0 and sequence - through < head.settings.taken_over_after and not started:
            self._throttle.hurry()
            self._base, self._throttle = held_at(head, through), Throttle()
            self._result = self._pool.submit(reconcile, self._base, self._throttle)
        if hurry:
            self._throttle.hurry()

    def __call__(self, base: Head) -> Head:
        """``reconcile(base)``: the background result, or computed now if none was started or a judgment was removed meanwhile."""
        begun, result = self._base, self._result
        if begun is not None and result is not None and _same_judgments(begun, base):
            self._base = self._result = None
            self._throttle.hurry()
            return result.result()
        return reconcile(base)

    def close(self) -> None:
        """Shut down; a running computation finishes by itself."""
        self._throttle.hurry()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _same_judgments(one: Head, other: Head) -> bool:
    return (
        one.head_id == other.head_id
        and one.sequence == other.sequence
        and np.array_equal(one.history.rows()["sequence"], other.history.rows()["sequence"])
    )
