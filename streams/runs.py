"""How far each training run has come, folded from ``training.*`` and ``models.versions``: who asked, what was frozen, whose attempt it is.

The hub asks it what to freeze next, the trainers which run is free to claim.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from types import MappingProxyType
from uuid import UUID

from storage.events import DatasetFrozen, Event, ModelEvaluated, RunClaimed, TrainingFailed, TrainingProgress, TrainingRequested

SILENCE = timedelta(seconds=60)  # after which an attempt is taken for dead and the next may be claimed
AHEAD = timedelta(hours=1)  # by which no clock that is set at all runs ahead of another
ATTEMPTS = 5  # a run that has failed so often will not be mended by one more


@dataclass(frozen=True)
class Run:
    """A run as far as it has come; ``attempt`` 0 means that nobody has claimed it."""

    request: TrainingRequested | None = None
    frozen: DatasetFrozen | None = None
    attempt: int = 0
    trainer: str | None = None
    spoke_at: datetime | None = None
    failed: TrainingFailed | None = None  # of the present attempt
    evaluated: ModelEvaluated | None = None

    @property
    def ended(self) -> bool:
        return self.evaluated is not None or (self.failed is not None and self.failed.final)

    @property
    def open(self) -> bool:
        """Frozen and not ended: the one run that is being worked on."""
        return self.frozen is not None and not self.ended

    def is_free(self, now: datetime) -> bool:
        """Whether the next attempt may be claimed. A word from the future, of a clock that ran ahead, is no sign of life."""
        if not self.open:
            return False
        if self.spoke_at is None or self.failed is not None:
            return True
        return now - self.spoke_at >= SILENCE or self.spoke_at - now >= AHEAD


Runs = Mapping[UUID, Run]


def fold(events: Iterable[Event]) -> Runs:
    """The runs after the events, in the order of the log within a topic; events of other kinds are passed over."""
    return reduce(step, events, MappingProxyType({}))


def step(runs: Runs, event: Event) -> Runs:
    """The runs after one more event; what has no meaning any more (a second claim, word of an old attempt) changes nothing."""
    if not isinstance(event, TrainingRequested | DatasetFrozen | RunClaimed | TrainingProgress | TrainingFailed | ModelEvaluated):
        return runs
    run = runs.get(event.run_id, Run())
    match event:
        case TrainingRequested():
            run = replace(run, request=run.request or event)
        case DatasetFrozen():
            run = replace(run, frozen=run.frozen or event)
        case RunClaimed() if event.attempt == run.attempt + 1 and (run.attempt == 0 or run.is_free(event.occurred_at)):
            run = replace(run, attempt=event.attempt, trainer=event.trainer, spoke_at=event.occurred_at, failed=None)
        case TrainingProgress() if event.attempt == run.attempt:
            run = replace(run, spoke_at=event.occurred_at)
        case TrainingFailed() if event.attempt == run.attempt:
            run = replace(run, failed=run.failed or event)
        case ModelEvaluated():
            run = replace(run, evaluated=run.evaluated or event)
        case _:
            return runs
    return MappingProxyType({**runs, event.run_id: run})


def next_to_freeze(runs: Runs) -> TrainingRequested | None:
    """The request to take up now, and none while a run is open."""
    return None if any(run.open for run in runs.values()) else pending(runs)


def pending(runs: Runs) -> TrainingRequested | None:
    """The one request that waits: the newest, where it is newer than all that were frozen. The others have been overtaken."""
    asked = [(_age(run.request), run) for run in runs.values() if run.request is not None]
    overtaken = max((age for age, run in asked if run.frozen is not None), default=None)
    waiting = [(age, run.request) for age, run in asked if not run.ended and run.frozen is None and (overtaken is None or age > overtaken)]
    return max(waiting, key=lambda pair: pair[0])[1] if waiting else None


def open_run(runs: Runs) -> Run | None:
    """The run to be worked on, the oldest where there are several."""
    return next((run for run in runs.values() if run.open and run.request is not None), None)


def _age(request: TrainingRequested) -> tuple[int, int, UUID]:
    """Orders requests as they were made, whatever order the topics are read in and whatever the clocks say."""
    return request.through_sequence, request.k, request.run_id
