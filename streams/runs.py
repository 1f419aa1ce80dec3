"""State of each training run, folded from ``training.*`` and ``models.versions``: request, frozen data, current attempt.

The hub decides by it what to freeze next, trainers which run they may claim.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from types import MappingProxyType
from uuid import UUID

from storage.events import DatasetFrozen, Event, ModelEvaluated, RunClaimed, TrainingFailed, TrainingProgress, TrainingRequested

LEASE = timedelta(seconds=60)  # without progress an attempt counts as dead and the next may be claimed
MAX_CLOCK_SKEW = timedelta(hours=1)  # progress stamped further in the future is ignored
ATTEMPTS = 5  # before a run is given up


@dataclass(frozen=True)
class Run:
    """State of a run; ``attempt`` 0 means not claimed yet."""

    request: TrainingRequested | None = None
    frozen: DatasetFrozen | None = None
    attempt: int = 0
    trainer: str | None = None
    last_progress_at: datetime | None = None
    failed: TrainingFailed | None = None  # of the current attempt
    evaluated: ModelEvaluated | None = None

    @property
    def ended(self) -> bool:
        return self.evaluated is not None or (self.failed is not None and self.failed.final)

    @property
    def open(self) -> bool:
        """Frozen and not ended."""
        return self.frozen is not None and not self.ended

    def is_free(self, now: datetime) -> bool:
        """Whether the next attempt may be claimed: the last one failed or its lease expired."""
        if not self.open:
            return False
        if self.last_progress_at is None or self.failed is not None:
            return True
        return now - self.last_progress_at >= LEASE or self.last_progress_at - now >= MAX_CLOCK_SKEW


Runs = Mapping[UUID, Run]


def fold(events: Iterable[Event]) -> Runs:
    """Fold events, ordered as on the log within each topic, into runs; events of other kinds are ignored."""
    return reduce(step, events, MappingProxyType({}))


def step(runs: Runs, event: Event) -> Runs:
    """Apply one event; an obsolete one (a second claim, progress of an old attempt) is a no-op."""
    if not isinstance(event, TrainingRequested | DatasetFrozen | RunClaimed | TrainingProgress | TrainingFailed | ModelEvaluated):
        return runs
    run = runs.get(event.run_id, Run())
    match event:
        case TrainingRequested():
            run = replace(run, request=run.request or event)
        case DatasetFrozen():
            run = replace(run, frozen=run.frozen or event)
        case RunClaimed() if event.attempt == run.attempt + 1 and (run.attempt == 0 or run.is_free(event.occurred_at)):
            run = replace(run, attempt=event.attempt, trainer=event.trainer, last_progress_at=event.occurred_at, failed=None)
        case TrainingProgress() if event.attempt == run.attempt:
            run = replace(run, last_progress_at=event.occurred_at)
        case TrainingFailed() if event.attempt == run.attempt:
            run = replace(run, failed=run.failed or event)
        case ModelEvaluated():
            run = replace(run, evaluated=run.evaluated or event)
        case _:
            return runs
    return MappingProxyType({**runs, event.run_id: run})


def next_to_freeze(runs: Runs) -> TrainingRequested | None:
    """The request to freeze now; None while a run is open."""
    return None if any(run.open for run in runs.values()) else pending(runs)


def pending(runs: Runs) -> TrainingRequested | None:
    """The newest request, if it is newer than all frozen ones; older requests are superseded."""
    requested = [(_order(run.request), run) for run in runs.values() if run.request is not None]
    last = max((order for order, run in requested if run.frozen is not None), default=None)
    waiting = [(order, run.request) for order, run in requested if not run.ended and run.frozen is None and (last is None or order > last)]
    return max(waiting, key=lambda pair: pair[0])[1] if waiting else None


def open_run(runs: Runs) -> Run | None:
    """The open run; the oldest if there are several."""
    return next((run for run in runs.values() if run.open and run.request is not None), None)


def _order(request: TrainingRequested) -> tuple[int, int, UUID]:
    """Sort key of requests; independent of clocks and of the order in which topics are read."""
    return request.through_sequence, request.k, request.run_id
