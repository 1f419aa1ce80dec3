"""Takes readings of the loop from the warehouse: counts, runs and versions, as the pages show them."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from dashboard.status import models as shown
from dashboard.status import versions as views
from dashboard.status.backlog import Outstanding
from dashboard.status.counters import Tally
from dashboard.status.duels import shown_duel
from storage.errors import Overloaded
from storage.events import Event, JudgmentGiven, ModelEvaluated, PairEmbedded, RewardUpdated
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Applied, Warehouse
from streams import evaluations
from streams import versions as life
from streams.bus.topics import FROZEN, PROGRESS, REQUESTED, VERSIONS
from streams.http.visible_text import without_paths
from streams.stations.freeze import Shortage

CURVE = 400  # points of the accuracy curve
STEPS = 120  # points of a run's curves
MAX_RUNS = 100  # the newest; pages send the data they hold back to the server
VERSION_KINDS = frozenset(evaluations.KINDS)
DUEL_KINDS = VERSION_KINDS | {PairEmbedded, JudgmentGiven}  # a judgment counts when its pair has been embedded
RUN_KINDS = frozenset({*REQUESTED.kinds, *FROZEN.kinds, *PROGRESS.kinds, ModelEvaluated})


@dataclass(frozen=True)
class Sources:
    """The sources of a reading.

    Attributes
    ----------
    lag : log entries not yet in the warehouse, by topic
    problems : why the hub is not ready; empty if it is
    every : judged pairs between two training runs
    run_artifacts : the settings and reports of runs
    serving : the version that serving reports; None if it does not answer
    opinions : opinions that each pair needs
    shortage : the requested run that waits for evidence
    name_of : the name of a person, by their id
    texts : opens candidates' groups
    """

    warehouse: Warehouse
    lag: Callable[[], Mapping[str, int]]
    problems: Callable[[], Sequence[str]]
    every: int
    run_artifacts: evaluations.RunArtifacts
    serving: Callable[[], str | None] = lambda: None
    opinions: int = 1
    shortage: Callable[[], Shortage | None] = lambda: None
    name_of: Callable[[str], str] = lambda who: who
    texts: Texts = PLAIN


class Readings:
    """Takes readings, querying the warehouse only for what has changed since the previous one."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._tally = Tally(sources.warehouse)
        self.outstanding = Outstanding(sources.warehouse, sources.opinions)
        self._runs: tuple[shown.Run, ...] = ()
        self._run_count = 0
        self._history = deque(_rows(sources.warehouse, "reward_history", limit=CURVE), maxlen=CURVE)
        self._duel: shown.DuelShown | None = None
        self._folded = life.Versions()
        self._version_events: list[Event] = []

    def note(self, applied: Applied) -> None:
        """Add the events of a commit. Called in the sink's thread."""
        self._tally.note(applied)
        if applied.deleted:
            self.outstanding.count()
        else:
            self.outstanding.note(applied.stored)
        self._history.extend(event.model_dump(exclude={"mean"}) for event in applied.stored if isinstance(event, RewardUpdated))

    def take(self, revision: int) -> shown.Reading:
        """Take a reading. Not thread-safe."""
        warehouse = self._sources.warehouse
        changed = self._tally.changed()
        if changed & RUN_KINDS:
            rows = _rows(warehouse, "runs")
            self._run_count = len(rows)
            self._runs = tuple(_run(row, rows, warehouse, position) for position, row in enumerate(rows[:MAX_RUNS]))
        if changed & VERSION_KINDS or self._folded.illegal:
            self._folded, self._version_events = fold_versions(warehouse, self._sources.run_artifacts)
        if changed & DUEL_KINDS:
            self._duel = shown_duel(self._folded, warehouse, self._sources.texts, {run.run_id: run.sources for run in self._runs})
        simulated = {run.run_id: "simulation" in run.sources for run in self._runs}
        versions = views.shown_versions(self._folded, self._version_events, simulated, self._sources.name_of)
        return shown.Reading(
            status=self._status(revision, versions),
            curve=tuple(_point(row) for row in tuple(self._history)),
            runs=self._with_waiting(),
            versions=versions,
            duel=self._duel,
        )

    def _with_waiting(self) -> tuple[shown.Run, ...]:
        shortage = self._sources.shortage()
        if shortage is None:
            return self._runs
        of_run = {str(shortage.run_id): shortage.words}
        return tuple(run.model_copy(update={"waiting": of_run.get(run.run_id)}) if run.state == "requested" else run for run in self._runs)

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
            problems += (f"The log is unreachable ({error}): figures are the last known; judgments are stored here until it is back.",)
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
                evaluated=len(self._folded.versions),
                promoted=views.promotions(self._folded, self._version_events),
            ),
            threshold=shown.Threshold(since=seen % every, every=every, k=seen // every),
            waiting=self._waiting(),
            champion=views.champion(self._folded, self._version_events, sources.serving()),
            awaiting_review=tuple(version.version for version in versions.versions if version.reviewable),
            reward=reward,
            newest=shown.Newest(
                judgment=tally.newest,
                reward=shown.Stamp(id=str(reward.sequence), occurred_at=reward.occurred_at) if reward else None,
            ),
            interventions=tally.interventions,
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


def fold_versions(warehouse: Warehouse, run_artifacts: evaluations.RunArtifacts) -> tuple[life.Versions, list[Event]]:
    """The versions folded from the warehouse, and the events of ``models.versions`` in log order."""
    events = warehouse.events(*evaluations.KINDS)
    return evaluations.lives_of(events, run_artifacts), [event for event in events if isinstance(event, VERSIONS.kinds)]


def _point(row: Mapping[str, Any]) -> shown.CurvePoint:
    return shown.CurvePoint(
        judgments=row["judgments_seen"],
        at=row["occurred_at"],
        accuracy=row["prequential_accuracy"],
        log_loss=row["prequential_log_loss"],
        n=row["prequential_n"],
    )


def _run(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], warehouse: Warehouse, position: int) -> shown.Run:
    """The run of ``row``, one of ``rows``; with its curve if it is one of the newest three."""
    steps = _rows(warehouse, "run_progress", run_id=str(row["run_id"])) if position < 3 else []
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
    """Sort key of requests, as in ``streams.runs``: only the newest stays pending."""
    return row["through_sequence"], row["k"], str(row["run_id"])


def _metrics(text: str | None) -> dict[str, float]:
    return orjson.loads(text) if text else {}


def _rows(warehouse: Warehouse, query: str, **parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = warehouse.query(query, parameters).to_pylist()
    return rows
