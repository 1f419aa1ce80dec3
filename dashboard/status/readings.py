"""Takes a reading of the whole loop from the warehouse: the counts, the runs and the versions as the pages show them."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from dashboard.status import models as shown
from dashboard.status import versions as lives
from dashboard.status.backlog import Outstanding
from dashboard.status.counters import Tally
from storage.errors import Overloaded
from storage.events import Event, ModelEvaluated, RewardUpdated
from storage.warehouse.warehouse import Applied, Warehouse
from streams import evaluations
from streams import versions as life
from streams.bus.topics import FROZEN, PROGRESS, REQUESTED, VERSIONS
from streams.http.visible_text import without_paths

CURVE = 400  # points of the accuracy curve
STEPS = 120  # points of a run's curves
SHOWN = 100  # runs, the newest; pages send what they hold back to the server
VERSION_KINDS = frozenset(evaluations.KINDS)
RUN_KINDS = frozenset({*REQUESTED.kinds, *FROZEN.kinds, *PROGRESS.kinds, ModelEvaluated})


@dataclass(frozen=True)
class Sources:
    """Where a reading comes from.

    Attributes
    ----------
    lag : log entries not yet in the warehouse, by topic
    problems : why the hub is not ready, or what it has to say; empty when all is well
    every : judged pairs between two training runs
    kept : the settings and reports of runs
    serving : which version serves candidates, as serving says; None where it does not answer
    opinions : judgments that are wanted of each pair
    """

    warehouse: Warehouse
    lag: Callable[[], Mapping[str, int]]
    problems: Callable[[], Sequence[str]]
    every: int
    kept: evaluations.RunArtifacts
    serving: Callable[[], str | None] = lambda: None
    opinions: int = 1


class Readings:
    """Takes readings one after the other, and asks the warehouse only for what has changed since the one before."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._tally = Tally(sources.warehouse)
        self.outstanding = Outstanding(sources.warehouse, sources.opinions)
        self._runs: tuple[shown.Run, ...] = ()
        self._run_count = 0
        self._history = deque(_rows(sources.warehouse, "reward_history", limit=CURVE), maxlen=CURVE)
        self._lives = life.Versions()
        self._passages: list[Event] = []

    def note(self, applied: Applied) -> None:
        """Remember what a commit has stored. Called in the sink's thread."""
        self._tally.note(applied)
        self.outstanding.note(applied.stored)
        self._history.extend(event.model_dump(exclude={"mean"}) for event in applied.stored if isinstance(event, RewardUpdated))

    def take(self, revision: int) -> shown.Reading:
        """Everything that is shown, at this moment. One call at a time."""
        warehouse = self._sources.warehouse
        changed = self._tally.changed()
        if changed & RUN_KINDS:
            rows = _rows(warehouse, "runs")
            self._run_count = len(rows)
            self._runs = tuple(_run(row, rows, warehouse, place) for place, row in enumerate(rows[:SHOWN]))
        if changed & VERSION_KINDS or self._lives.illegal:
            self._lives, self._passages = lives_in(warehouse, self._sources.kept)
        simulated = {run.run_id: "simulation" in run.sources for run in self._runs}
        versions = lives.shown_versions(self._lives, self._passages, simulated)
        return shown.Reading(
            status=self._status(revision, versions),
            curve=tuple(_point(row) for row in tuple(self._history)),
            runs=self._runs,
            versions=versions,
        )

    def _status(self, revision: int, versions: shown.Versions) -> shown.Status:
        sources, tally, every = self._sources, self._tally, self._sources.every
        last = self._history[-1] if self._history else None
        reward = shown.Reward(**{name: last[name] for name in shown.Reward.model_fields}) if last else None
        seen = reward.judgments_seen if reward else 0
        problems = tuple(sources.problems())
        try:
            lag = dict(sources.lag())
        except Overloaded as error:
            lag = {}
            problems += (f"The log is away ({error}): what is shown is as it was; judgments are kept on this machine until it is back.",)
        return shown.Status(
            revision=revision,
            at=datetime.now(UTC),
            epoch=sources.warehouse.epoch,
            simulated=tally.simulated,
            sources=tally.judgments,
            counts=shown.Counts(
                **tally.counts,
                learnt=reward.sequence if reward else 0,
                judgments_seen=seen,
                runs=self._run_count,
                evaluated=len(self._lives.versions),
                promoted=lives.promotions(self._lives, self._passages),
            ),
            threshold=shown.Threshold(since=seen % every, every=every, k=seen // every),
            waiting=self._waiting(),
            champion=lives.champion(self._lives, self._passages, sources.serving()),
            awaiting_review=tuple(version.version for version in versions.versions if version.reviewable),
            reward=reward,
            newest=shown.Newest(
                judgment=tally.newest,
                reward=shown.Stamp(id=str(reward.sequence), occurred_at=reward.occurred_at) if reward else None,
            ),
            lag=lag,
            health=shown.Health(ready=not problems, problems=problems),
        )

    def _waiting(self) -> shown.Waiting:
        counts, waiting = self._tally.counts, self.outstanding.waiting()
        return shown.Waiting(
            to_rate=self.outstanding.to_rate,
            judgments_without_pair=waiting.without_pair,
            judgments_without_features=waiting.without_features,
            pairs_without_features=max(0, counts["pairs"] - counts["embedded"]),
            oldest_seconds=(datetime.now(UTC) - waiting.oldest).total_seconds() if waiting.oldest else None,
        )


Lives = tuple[life.Versions, list[Event]]


def lives_in(warehouse: Warehouse, kept: evaluations.RunArtifacts) -> Lives:
    """The versions as the warehouse has them, and what ``models.versions`` says, in the order of the log."""
    events = warehouse.events(*evaluations.KINDS)
    return evaluations.lives_of(events, kept), [event for event in events if isinstance(event, VERSIONS.kinds)]


def _point(row: Mapping[str, Any]) -> shown.CurvePoint:
    return shown.CurvePoint(
        judgments=row["judgments_seen"],
        at=row["occurred_at"],
        accuracy=row["prequential_accuracy"],
        log_loss=row["prequential_log_loss"],
        n=row["prequential_n"],
    )


def _run(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], warehouse: Warehouse, place: int) -> shown.Run:
    """A run's row as it is shown among all ``rows``; the curve only of the newest three."""
    steps = _rows(warehouse, "run_progress", run_id=str(row["run_id"])) if place < 3 else []
    steps = steps[:: max(1, len(steps) // STEPS)]
    if row["version"]:
        state = "evaluated"
    elif row["failed_at"] and row["final"]:
        state = "failed"
    elif row["claimed_at"] or row["progressed_at"]:
        state = "training"
    elif row["frozen_at"]:
        state = "frozen"
    else:
        state = "overtaken" if any(_age(other) > _age(row) for other in rows) else "requested"
    moments = [row[name] for name in ("requested_at", "frozen_at", "claimed_at", "progressed_at", "failed_at", "evaluated_at")]
    return shown.Run(
        **{
            name: row[name]
            for name in (
                "method",
                "threshold",
                "k",
                "through_sequence",
                "requested_at",
                "champion",
                "trainer",
                "attempt",
                "version",
                "verdict",
            )
        },
        reason=without_paths(row["reason"]) if row["reason"] else None,
        run_id=str(row["run_id"]),
        sources=tuple(orjson.loads(row["sources"])),
        state=state,
        stage=row["failed_stage"] if state == "failed" else row["stage"],
        step=row["step"] or 0,
        steps=row["steps"] or 0,
        metrics=_metrics(row["metrics"]),
        artifacts=orjson.loads(row["artifacts"] or "{}"),
        updated_at=max(moment for moment in moments if moment),
        history=tuple(
            shown.Step(
                stage=step["stage"], step=step["step"], steps=step["steps"], at=step["occurred_at"], metrics=_metrics(step["metrics"])
            )
            for step in steps
        ),
    )


def _age(row: Mapping[str, Any]) -> tuple[int, int, str]:
    """As ``streams.runs`` orders requests: only the newest waits."""
    return row["through_sequence"], row["k"], str(row["run_id"])


def _metrics(text: str | None) -> dict[str, float]:
    return orjson.loads(text) if text else {}


def _rows(warehouse: Warehouse, query: str, **parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = warehouse.query(query, parameters).to_pylist()
    return rows
