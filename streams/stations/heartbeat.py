"""Says on the log how far a run is, while its pipeline works: each step soon, and at least every five seconds that it still lives."""

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

ALIVE = 5.0  # seconds between two words at most: far below the silence that frees the run
SOON = 0.5  # seconds between two words at least: people watch these, and the log keeps them


class Interrupted(Exception):
    """The pipeline was told to stop at its next step."""


class Heartbeat:
    """A thread that publishes the newest progress of one attempt. ``interrupted`` gives the reason to stop, or None."""

    def __init__(self, bus: Bus, run_id: UUID, attempt: int, source: Source, interrupted: Callable[[], str | None]) -> None:
        self._bus, self._run_id, self._attempt, self._source = bus, run_id, attempt, source
        self._interrupted = interrupted
        self._changed = threading.Condition()
        self._ended = False
        self._news = True
        self._now: tuple[str, int, int, dict[str, float]] = ("start", 0, 0, {})
        self._artifacts: dict[str, str] = {}
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def stage(self) -> str:
        return self._now[0]

    def progress(self, stage: str, step: int, steps: int, metrics: dict[str, float], artifacts: dict[str, str]) -> None:
        """What the pipeline calls at every step; raises ``Interrupted`` where it should go no further."""
        reason = self._interrupted()
        if reason is not None:
            raise Interrupted(reason)
        with self._changed:
            # a loss that is no number has no place in JSON; the others still say something
            self._now, self._news = (stage, step, steps, {k: float(v) for k, v in metrics.items() if math.isfinite(v)}), True
            self._artifacts = self._artifacts | artifacts  # named in every word from now on, since some words are passed over
            self._changed.notify()

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(TIMEOUT)

    def _beat(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._news or self._ended, timeout=ALIVE)
                ended, (stage, step, steps, metrics), artifacts = self._ended, self._now, self._artifacts
                news, self._news = self._news, False
            if news or not ended:
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
                    self._bus.publish(records_of([progress]), timeout=ALIVE)
                except FeedbackLoopError as error:  # the next word will say it
                    log.warning("run %s: no word of it on the log: %s", self._run_id, error)
            if ended:
                return
            with self._changed:
                self._changed.wait_for(lambda: self._ended, timeout=SOON)
