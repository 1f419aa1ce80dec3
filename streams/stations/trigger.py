"""Ask for retraining when enough has been learnt since the last time, or when little has for long.

Reward updates come from the learner; the requests go to ``training.requested``, where ``streams.stations.freeze`` takes them up. A request
is a function of the updates on the log, to the byte: every worker may ask, and all that ask for one run ask for the same.
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
from streams.stations.learner import last_update
from streams.stations.runner import Handler
from streams.stations.settings import RetrainingRule
from trainers.runs.settings import RunSettings

MOST_AT_ONCE = 10_000  # thresholds crossed by one update: a head folded anew over millions of judgments stays below
READER = "trigger"


@dataclass(frozen=True)
class RunPlan:
    """What every request of this installation says: the method, whose judgments, and the hash of the run's settings."""

    method: str
    sources: tuple[Source, ...]
    settings: str | None

    @classmethod
    def of(cls, settings: Settings, method: str, artifacts: Artifacts) -> "RunPlan":
        """The plan of these settings, which are kept in the artifacts.

        Raises
        ------
        ConfigurationError
            There is no such method, or a section holds a wrong key or value.
        """
        frozen = RunSettings.read(settings, method).freeze()
        return cls(method, settings.common.sources, artifacts.put_bytes(frozen.as_bytes()))


def build(context: ProcessorContext) -> Handler:
    """The handler of the table's row."""
    rule = context.settings.section("retraining", RetrainingRule)
    plan = RunPlan.of(context.settings, rule.method, Artifacts(context.settings.common.artifacts_url))

    def ask(events: Sequence[Event]) -> list[Event]:
        updates = [event for event in events if isinstance(event, RewardUpdated)]
        return [request for update in updates for request in on_reward_updated(update, rule, plan)]

    return ask


def on_reward_updated(update: RewardUpdated, rule: RetrainingRule, plan: RunPlan) -> Iterator[TrainingRequested]:
    """Emit a request where a threshold was crossed; of several only the last, for one run is enough.

    The crossing's number makes the request's id, so that a repeated update repeats the same request.
    """
    before, k = update.judgments_before // rule.every, update.judgments_seen // rule.every
    if k - before > MOST_AT_ONCE:
        raise EventUnreadable(f"judgments_seen: {update.judgments_seen} crosses {k - before} thresholds at once, no learner of ours does")
    if k > before:
        yield _request(update, rule, plan, "count", k, update.judged_at or update.occurred_at)


def on_tick(
    now: datetime, rule: RetrainingRule, plan: RunPlan, *, due: datetime, update: RewardUpdated, earlier: int
) -> Iterator[TrainingRequested]:
    """Emit a request from ``due`` on, when enough time has passed and enough judgments have come.

    Parameters
    ----------
    update : the last one that was there at ``due``; the run goes up to there
    earlier : requests by time so far; the next one's number makes its id
    """
    if now >= due:
        yield _request(update, rule, plan, "time", earlier + 1, due)


def due_by_time(bus: Bus, rule: RetrainingRule, plan: RunPlan, now: datetime) -> list[TrainingRequested]:
    """What :func:`on_tick` says of the log as it stands, however long that is."""
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
    # A stamp of a clock that ran ahead is not believed: what else is known of that moment takes its place.
    since = next((event.occurred_at for event in (last, before, first) if event is not None and event.occurred_at <= now), now)
    due = max(since + timedelta(days=rule.after_days), enough.occurred_at if enough else now)
    _, update = last_where(bus, REWARD, lambda event: event.occurred_at <= due, READER)
    earlier = sum(request.threshold == "time" for request in requests)
    return list(on_tick(now, rule, plan, due=due, update=update, earlier=earlier)) if isinstance(update, RewardUpdated) else []


def by_hand(plan: RunPlan, k: int, through_sequence: int) -> TrainingRequested:
    """A person asks for a run over everything joined so far, for the ``k``-th time."""
    return TrainingRequested(
        run_id=new_id(),
        method=plan.method,
        threshold="manual",
        k=k,
        through_sequence=through_sequence,
        sources=plan.sources,
        settings=plan.settings,
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
