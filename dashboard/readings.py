"""Takes a reading of the whole loop from the warehouse: the counts, the runs and the versions as the pages show them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from dashboard import lives
from dashboard import status as shown
from storage.events import Event, ModelEvaluated, ModelPromoted, ModelRolledBack, ReviewDecided
from storage.warehouse import Warehouse
from streams import versions as life

CURVE = 400  # points of the accuracy curve
STEPS = 120  # points of a run's curves


@dataclass(frozen=True)
class Sources:
    """Where a reading comes from.

    Attributes
    ----------
    lag : log entries not yet in the warehouse, by topic
    problems : why the hub is not ready, or what it has to say; empty when all is well
    every : judgments between two training runs
    """

    warehouse: Warehouse
    lag: Callable[[], Mapping[str, int]]
    problems: Callable[[], Sequence[str]]
    every: int


def read(sources: Sources, revision: int) -> shown.Reading:
    """Everything that is shown, at this moment."""
    warehouse = sources.warehouse
    runs = tuple(_run(row, warehouse, place) for place, row in enumerate(_rows(warehouse, "runs")))
    events = version_events(warehouse)
    fold = life.fold(events)
    history = _rows(warehouse, "reward_history", limit=CURVE)
    versions = lives.shown_versions(fold, events, {run.run_id: "simulation" in run.sources for run in runs})
    return shown.Reading(
        status=_status(sources, revision, history, versions, lives.champion(fold, events)),
        curve=tuple(_point(row) for row in history),
        runs=runs,
        versions=versions,
    )


def version_events(warehouse: Warehouse) -> list[Event]:
    """What ``models.versions`` says, in the order of the log."""
    return [
        entry.event for entry in warehouse.events(ModelEvaluated, ReviewDecided, ModelPromoted, ModelRolledBack) if entry.event is not None
    ]


def _status(
    sources: Sources,
    revision: int,
    history: Sequence[Mapping[str, Any]],
    versions: shown.Versions,
    champion: shown.Champion,
) -> shown.Status:
    warehouse = sources.warehouse
    now = datetime.now(UTC)
    at = {row["station"]: row["n"] for row in _rows(warehouse, "counts")}
    newest = _rows(warehouse, "recent_judgments", limit=1)
    reward = shown.Reward(**{name: history[-1][name] for name in shown.Reward.model_fields}) if history else None
    seen = reward.judgments_seen if reward else 0
    by_source = _rows(warehouse, "sources")
    problems = tuple(sources.problems())
    return shown.Status(
        revision=revision,
        at=now,
        epoch=warehouse.epoch,
        simulated=any(row["source"] == "simulation" for row in by_source),
        sources={row["source"]: row["n"] for row in by_source if row["station"] == "judgments"},
        counts=shown.Counts(
            **{
                name: at.get(name, 0)
                for name in (
                    "replies",
                    "pairs",
                    "judgments",
                    "ratings",
                    "embedded",
                    "preferences",
                    "removed",
                    "evaluated",
                    "promoted",
                    "quarantined",
                )
            },
            learnt=reward.sequence if reward else 0,
            judgments_seen=seen,
            runs=at.get("requested", 0),
        ),
        threshold=shown.Threshold(since=seen % sources.every, every=sources.every, k=seen // sources.every),
        waiting=_waiting(warehouse, at),
        champion=champion,
        awaiting_review=tuple(version.version for version in versions.versions if version.reviewable),
        reward=reward,
        newest=shown.Newest(
            judgment=shown.Stamp(id=str(newest[0]["event_id"]), occurred_at=newest[0]["occurred_at"]) if newest else None,
            reward=shown.Stamp(id=str(reward.sequence), occurred_at=reward.occurred_at) if reward else None,
        ),
        lag=dict(sources.lag()),
        health=shown.Health(ready=not problems, problems=problems),
    )


def _waiting(warehouse: Warehouse, at: Mapping[str, int]) -> shown.Waiting:
    rows = _rows(warehouse, "waiting", limit=1000)
    without_pair = sum("pair" in row["waits_for"] for row in rows)
    return shown.Waiting(
        to_rate=_rows(warehouse, "pairs_to_rate")[0]["n"],
        judgments_without_pair=without_pair,
        judgments_without_features=len(rows) - without_pair,
        pairs_without_features=max(0, at.get("pairs", 0) - at.get("embedded", 0)),
        oldest_seconds=float(rows[0]["seconds"]) if rows else None,
    )


def _point(row: Mapping[str, Any]) -> shown.CurvePoint:
    return shown.CurvePoint(
        judgments=row["judgments_seen"],
        at=row["occurred_at"],
        accuracy=row["prequential_accuracy"],
        log_loss=row["prequential_log_loss"],
        n=row["prequential_n"],
    )


def _run(row: Mapping[str, Any], warehouse: Warehouse, place: int) -> shown.Run:
    """A run's row as it is shown; the curve only of the newest three."""
    steps = _rows(warehouse, "run_progress", run_id=str(row["run_id"])) if place < 3 else []
    steps = steps[:: max(1, len(steps) // STEPS)]
    if row["version"]:
        state = "evaluated"
    elif row["failed_at"] and row["final"]:
        state = "failed"
    elif row["claimed_at"] or row["progressed_at"]:
        state = "training"
    else:
        state = "frozen" if row["frozen_at"] else "requested"
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
                "reason",
            )
        },
        run_id=str(row["run_id"]),
        sources=tuple(orjson.loads(row["sources"])),
        state=state,
        stage=row["failed_stage"] if state == "failed" else row["stage"],
        step=row["step"] or 0,
        steps=row["steps"] or 0,
        metrics=_metrics(row["metrics"]),
        updated_at=max(moment for moment in moments if moment),
        history=tuple(
            shown.Step(
                stage=step["stage"], step=step["step"], steps=step["steps"], at=step["occurred_at"], metrics=_metrics(step["metrics"])
            )
            for step in steps
        ),
    )


def _metrics(text: str | None) -> dict[str, float]:
    return orjson.loads(text) if text else {}


def _rows(warehouse: Warehouse, query: str, **parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = warehouse.query(query, parameters).to_pylist()
    return rows
