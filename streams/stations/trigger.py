"""Request retraining when enough judgments were learnt since the last run, or after some time with fewer.

Reward updates come from the learner; requests go to ``training.requested``, where ``streams.stations.freeze`` handles them. A request is a
pure function of the updates on the log, identical to the byte on every worker, so duplicates are harmless.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from storage.artifacts import Artifacts
from storage.errors import EventUnreadable
from storage.events import Event, RewardUpdated, Source, TrainingRequested, derived_id, new_id
from storage.settings import Settings
from streams.bus.protocol import Bus
from streams.bus.scan import first_from, last_where, to_end
from streams.bus.topics import REQUESTED, REWARD
from streams.stations.contexts import ProcessorContext
from streams.stations.head_checkpoints import last_update
from streams.stations.runner import Handler
from streams.stations.settings import RetrainingRule
from trainers.runs.settings import RunSettings

MAX_CROSSED = 10_000  # thresholds crossed by one update; even a head rebuilt from millions of judgments stays below
READER = "trigger"


@dataclass(frozen=True)
class RunPlan:
    """The fields common to all requests of this installation: method, sources of judgments, and hash of the run's settings."""

    method: str
    sources: tuple[Source, ...]
    settings: str | None

    @classmethod
    def of(cls, settings: Settings, method: str, artifacts: Artifacts) -> "RunPlan":
        """The plan of these settings; stores them as an artifact.

        Raises
        ------
        ConfigurationError
            The method is unknown, or a section has an invalid key or value.
        """
        frozen = RunSettings.read(settings, method).freeze()
        return cls(method, settings.common.sources, artifacts.put_bytes(frozen.as_bytes()))


def build(context: ProcessorContext) -> Handler:
    """The handler for the table of consumers."""
    rule = context.settings.section("retraining", RetrainingRule)
    plan = RunPlan.of(context.settings, rule.method, Artifacts(context.settings.common.artifacts_url))

    def ask(events: Sequence[Event]) -> list[Event]:
        updates = [event for event in events if isinstance(event, RewardUpdated)]
        return [request for update in updates for request in on_reward_updated(update, rule, plan)]

    return ask


def on_reward_updated(update: RewardUpdated, rule: RetrainingRule, plan: RunPlan) -> Iterator[TrainingRequested]:
    """Emit a request if a threshold was crossed; only for the last one if there are several.

    The request's id is derived from the threshold's number, so a repeated update repeats the same request.
    """
    before, k = update.judgments_before // rule.every, update.judgments_seen // rule.every
    if k - before > MAX_CROSSED:
        raise EventUnreadable(f"judgments_seen: {update.judgments_seen} crosses {k - before} thresholds at once, at most {MAX_CROSSED}")
    if k > before:
        yield _request(update, rule, plan, "count", k, update.judged_at or update.occurred_at)


def on_tick(
    now: datetime, rule: RetrainingRule, plan: RunPlan, *, due: datetime, update: RewardUpdated, earlier: int
) -> Iterator[TrainingRequested]:
    """Emit a request once ``due`` has passed.

    Parameters
    ----------
    due : when enough time had passed and enough judgments had arrived
    update : the last one at ``due``; the run covers judgments up to it
    earlier : number of previous requests by time; the next number determines the id
    """
    if now >= due:
        yield _request(update, rule, plan, "time", earlier + 1, due)


def due_by_time(bus: Bus, rule: RetrainingRule, plan: RunPlan, now: datetime) -> list[TrainingRequested]:
    """The request that :func:`on_tick` emits for the current log, if any; found by binary search, so the log may be long."""
    requests = [event for event in to_end(bus, [REQUESTED], READER) if isinstance(event, TrainingRequested)]
    last = max(requests, key=lambda request: (request.through_sequence, request.k), default=None)
    newest, (_, first) = last_update(bus), first_from(bus, REWARD, 0, READER)
    if newest is None or first is None:
        return []

    def held_by(event: Event) -> bool:
        return last is not None and isinstance(event, RewardUpdated) and event.sequence <= last.through_sequence

    _, before = last_where(bus, REWARD, held_by, READER)
    wanted = rule.at_least + (before.judgments_seen if isinstance(before, RewardUpdated) else 0)
    if newest.judgments_seen < wanted:
        return []
    short, _ = last_where(bus, REWARD, lambda event: isinstance(event, RewardUpdated) and event.judgments_seen < wanted, READER)
    _, enough = first_from(bus, REWARD, short + 1, READER)
    # A timestamp in the future (clock skew) is ignored in favour of the next best event.
    since = next((event.occurred_at for event in (last, before, first) if event is not None and event.occurred_at <= now), now)
    due = max(since + timedelta(days=rule.after_days), enough.occurred_at if enough else now)
    _, update = last_where(bus, REWARD, lambda event: event.occurred_at <= due, READER)
    earlier = sum(request.threshold == "time" for request in requests)
    return list(on_tick(now, rule, plan, due=due, update=update, earlier=earlier)) if isinstance(update, RewardUpdated) else []


def by_hand(plan: RunPlan, k: int, through_sequence: int, requested_by: str | None = None) -> TrainingRequested:
    """A manual request, the ``k``-th, for a run over everything joined so far."""
    return TrainingRequested(
        run_id=new_id(),
        method=plan.method,
        threshold="manual",
        k=k,
        through_sequence=through_sequence,
        sources=plan.sources,
        settings=plan.settings,
        requested_by=requested_by,
        source="product",
    )


def _request(
    update: RewardUpdated, rule: RetrainingRule, plan: RunPlan, threshold: Literal["count", "time"], k: int, moment: datetime
) -> TrainingRequested:
    measure = rule.every if threshold == "count" else rule.after_days
    run_id = derived_id("run", plan.method, threshold, measure, k)
    return TrainingRequested(
        event_id=derived_id("TrainingRequested", run_id),
        occurred_at=moment,
        source=update.source,
        run_id=run_id,
        method=plan.method,
        threshold=threshold,
        k=k,
        through_sequence=update.sequence,
        sources=plan.sources,
        settings=plan.settings,
    )
