"""Counts of events per station, updated as the sink commits, so that a reading needs no query.

The counts are read from the warehouse when the hub starts, and after an erasure; otherwise each commit is added.
"""

import threading
from collections import Counter

from dashboard.status.models import Intervened, Stamp
from storage.events import (
    EVENTS,
    Event,
    EventQuarantined,
    InterventionMade,
    JudgmentGiven,
    PairDrawn,
    PairEmbedded,
    PreferenceRemoved,
    ReplySent,
    ResponseRated,
    Source,
)
from storage.warehouse.warehouse import Applied, Warehouse

STATIONS: dict[type[Event], str] = {
    ReplySent: "replies",
    PairDrawn: "pairs",
    PairEmbedded: "embedded",
    JudgmentGiven: "judgments",
    ResponseRated: "ratings",
    EventQuarantined: "quarantined",
}


class Tally:
    """Counts, the newest judgment, and the kinds of events stored since the last call of :meth:`changed`. Thread-safe."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._lock = threading.Lock()
        self._changed: set[type[Event]] = set(EVENTS.values())
        self._count()

    def _count(self) -> None:
        warehouse = self._warehouse
        at = {row["station"]: row["n"] for row in warehouse.query("counts").to_pylist()}
        self._counts = Counter({station: at[station] for station in STATIONS.values()})
        self._sources = Counter({(row["station"], row["source"]): row["n"] for row in warehouse.query("sources").to_pylist()})
        self._interventions = Counter({(row["filter"], row["action"]): row["n"] for row in warehouse.query("interventions").to_pylist()})
        self._removed = at["removed"]
        newest = warehouse.query("recent_judgments", {"limit": 1}).to_pylist()
        self._newest = Stamp(id=str(newest[0]["event_id"]), occurred_at=newest[0]["occurred_at"]) if newest else None

    def note(self, applied: Applied) -> None:
        """Add the events of a commit. Called in the sink's thread."""
        with self._lock:
            self._changed |= {type(event) for event in applied.stored}
            if applied.deleted:
                self._changed = set(EVENTS.values())
                self._count()
                return
            for event in applied.stored:
                if (station := STATIONS.get(type(event))) is not None:
                    self._counts[station] += 1
                    self._sources[station, event.source] += 1
                if isinstance(event, InterventionMade):
                    self._interventions[event.filter, event.action] += event.times
                if isinstance(event, JudgmentGiven) and (self._newest is None or event.occurred_at >= self._newest.occurred_at):
                    self._newest = Stamp(id=str(event.event_id), occurred_at=event.occurred_at)

    def changed(self) -> set[type[Event]]:
        """The kinds of events stored since the last call; all kinds at first."""
        with self._lock:
            changed, self._changed = self._changed, set()
        if PreferenceRemoved in changed:  # rare, and numbered before it is stored: count the rows
            self._removed = next(row["n"] for row in self._warehouse.query("counts").to_pylist() if row["station"] == "removed")
        return changed

    @property
    def counts(self) -> dict[str, int]:
        """By station; numbered entries are split into preferences that joined and removals."""
        with self._lock:
            return dict(self._counts) | {"preferences": self._warehouse.last_sequence - self._removed, "removed": self._removed}

    @property
    def newest(self) -> Stamp | None:
        """The newest stored judgment."""
        return self._newest

    @property
    def interventions(self) -> tuple[Intervened, ...]:
        """What safety filters did, by filter and action."""
        with self._lock:
            return tuple(Intervened(filter=name, action=action, n=n) for (name, action), n in sorted(self._interventions.items()))

    @property
    def simulated(self) -> bool:
        """Whether any counted event comes from simulated people."""
        with self._lock:
            return any(source == "simulation" and n for (_, source), n in self._sources.items())

    @property
    def judgments(self) -> dict[Source, int]:
        """Judgments by source."""
        with self._lock:
            return {source: n for (station, source), n in self._sources.items() if station == "judgments"}
