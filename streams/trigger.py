"""Ask for retraining when enough has been learnt since the last time, or when little has for long.

Reward updates come from ``streams.learner``; the requests go to ``training.requested``, where ``streams.freeze`` takes them up.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from storage.errors import EventUnreadable
from storage.events import Event, RewardUpdated, Source, TrainingRequested, derived_id, new_id
from streams.bus import Bus
from streams.quarantine import decoded
from streams.topics import REQUESTED, REWARD, Topic

MOST_AT_ONCE = 10_000  # thresholds crossed by one update: a head folded anew over millions of judgments stays below
LOOK_BACK = 2_000  # reward updates: more than come between two requests, as long as judgments ask for runs at all


class RetrainingRule(BaseModel):
    """When to train.

    Attributes
    ----------
    every : training judgments between two runs
    after_days, at_least : a run also when the last was asked for so many days ago and at least so many judgments have come since
    method : how to train
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: Annotated[int, Field(ge=1)] = 200
    after_days: Annotated[float, Field(gt=0)] = 7.0
    at_least: Annotated[int, Field(ge=1)] = 50
    method: Literal["dpo"] = "dpo"


def on_reward_updated(update: RewardUpdated, rule: RetrainingRule, sources: Sequence[Source]) -> Iterator[TrainingRequested]:
    """Emit one request for each threshold crossed.

    The crossing's number makes the request's id, so that a repeated update repeats the same request.
    """
    crossed = range(update.judgments_before // rule.every + 1, update.judgments_seen // rule.every + 1)
    if len(crossed) > MOST_AT_ONCE:
        raise EventUnreadable(f"judgments_seen: {update.judgments_seen} crosses {len(crossed)} thresholds at once, no learner of ours does")
    for k in crossed:
        yield _request(update, rule, sources, "count", k)


def on_tick(
    now: datetime,
    rule: RetrainingRule,
    sources: Sequence[Source],
    *,
    update: RewardUpdated,
    since: datetime,
    judgments_then: int,
    earlier: int,
) -> Iterator[TrainingRequested]:
    """Emit a request when ``after_days`` have passed and at least ``at_least`` judgments have come.

    Parameters
    ----------
    update : the newest reward update
    since : when the last run was asked for, or the first reward update where none was
    judgments_then : judgments that counted at that time
    earlier : requests by time so far; the next one's number makes its id
    """
    if now - since >= timedelta(days=rule.after_days) and update.judgments_seen - judgments_then >= rule.at_least:
        yield _request(update, rule, sources, "time", earlier + 1)


def due_by_time(bus: Bus, rule: RetrainingRule, sources: Sequence[Source], now: datetime) -> list[TrainingRequested]:
    """What :func:`on_tick` says of the log as it stands."""
    updates = [event for event in _events(bus, REWARD, -LOOK_BACK, LOOK_BACK) if isinstance(event, RewardUpdated)]
    if not updates:
        return []
    requests = [event for event in _events(bus, REQUESTED, 0, 1_000_000) if isinstance(event, TrainingRequested)]
    last = max(requests, key=lambda request: request.occurred_at, default=None)
    reached = last.through_sequence if last else 0
    then = next((update.judgments_seen for update in reversed(updates) if update.sequence <= reached), updates[0].judgments_before)
    return list(
        on_tick(
            now,
            rule,
            sources,
            update=updates[-1],
            since=last.occurred_at if last else _first(bus, REWARD).occurred_at,
            judgments_then=then,
            earlier=sum(request.threshold == "time" for request in requests),
        )
    )


def by_hand(method: Literal["dpo"], k: int, through_sequence: int, sources: Sequence[Source]) -> TrainingRequested:
    """A person asks for a run over everything joined so far, for the ``k``-th time."""
    return TrainingRequested(
        run_id=new_id(),
        method=method,
        threshold="manual",
        k=k,
        through_sequence=through_sequence,
        sources=tuple(sources),
        source="product",
    )


def _request(
    update: RewardUpdated, rule: RetrainingRule, sources: Sequence[Source], threshold: Literal["count", "time"], k: int
) -> TrainingRequested:
    measure = rule.every if threshold == "count" else rule.after_days
    run_id = derived_id("run", rule.method, threshold, measure, k)
    return TrainingRequested(
        event_id=derived_id("TrainingRequested", run_id),
        occurred_at=update.occurred_at,
        source=update.source,
        run_id=run_id,
        method=rule.method,
        threshold=threshold,
        k=k,
        through_sequence=update.sequence,
        sources=tuple(sources),
    )


def _first(bus: Bus, topic: Topic) -> Event:
    """The first event that can be read on a topic that has one."""
    after = {partition: first - 1 for partition, (first, _) in bus.bounds([topic.name]).items()}
    while True:
        entries = bus.read(after, limit=100, wait=0)
        if events := decoded(entries, "trigger").events:
            return events[0][1]
        after.update({entry.partition: entry.offset for entry in entries})


def _events(bus: Bus, topic: Topic, start: int, limit: int) -> list[Event]:
    """Events of a topic from an offset on, counted from the end where it is negative."""
    after = {}
    for partition, (first, following) in bus.bounds([topic.name]).items():
        after[partition] = max(first, following + start if start < 0 else start) - 1
    return [event for _, event in decoded(bus.read(after, limit=limit, wait=0), "trigger").events]
