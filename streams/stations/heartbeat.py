"""Publishes the progress of a run while its pipeline works: at least every five seconds, which also renews the trainer's lease."""

import logging
import math
import threading
from collections.abc import Callable
from types import TracebackType
from uuid import UUID

from storage.errors import FeedbackLoopError
from storage.events import Source, TrainingProgress
from streams.bus.protocol import Bus, records_of
from streams.stations.runner import TIMEOUT

log = logging.getLogger(__name__)

MAX_INTERVAL = 5.0  # seconds; the lease is 60 s (streams.runs.LEASE)
MIN_INTERVAL = 0.5  # seconds: rate limit, because the log keeps every event


class Interrupted(Exception):
    """Raised in the pipeline, at its next step, to stop it."""


class Heartbeat:
    """A thread that publishes the latest progress of one attempt. ``interrupted`` returns the reason to stop, or None."""

    def __init__(self, bus: Bus, run_id: UUID, attempt: int, source: Source, interrupted: Callable[[], str | None]) -> None:
        self._bus, self._run_id, self._attempt, self._source = bus, run_id, attempt, source
        self._interrupted = interrupted
        self._condition = threading.Condition()
        self._ended = False
        self._pending = True  # there is progress that was not published yet
        self._now: tuple[str, int, int, dict[str, float]] = ("start", 0, 0, {})
        self._artifacts: dict[str, str] = {}
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def stage(self) -> str:
        return self._now[0]

    def progress(self, stage: str, step: int, steps: int, metrics: dict[str, float], artifacts: dict[str, str]) -> None:
        """Called by the pipeline at every step; raises ``Interrupted`` if it should stop."""
        reason = self._interrupted()
        if reason is not None:
            raise Interrupted(reason)
        with self._condition:
            # JSON cannot represent NaN and infinities: drop those metrics
            self._now = stage, step, steps, {k: float(v) for k, v in metrics.items() if math.isfinite(v)}
            self._pending = True
            self._artifacts = self._artifacts | artifacts  # cumulative, because not every step is published
            self._condition.notify()

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify()
        self._thread.join(TIMEOUT)

    def _beat(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._pending or self._ended, timeout=MAX_INTERVAL)
                ended, (stage, step, steps, metrics), artifacts = self._ended, self._now, self._artifacts
                pending, self._pending = self._pending, False
            if pending or not ended:
                progress = TrainingProgress(
                    source=self._source,
                    run_id=self._run_id,
                    attempt=self._attempt,
                    stage=stage,
                    step=step,
                    steps=steps,
                    metrics=metrics,
                    artifacts=artifacts,
                )
                try:
                    self._bus.publish(records_of([progress]), timeout=MAX_INTERVAL)
                except FeedbackLoopError as error:  # retried with the next heartbeat
                    log.warning("run %s: cannot publish progress: %s", self._run_id, error)
            if ended:
                return
            with self._condition:
                self._condition.wait_for(lambda: self._ended, timeout=MIN_INTERVAL)
