"""How much has passed each station, counted along with the sink's commits, so that looking costs the warehouse nothing.

It begins with what the warehouse holds when the hub starts; from then on it adds what each commit has stored.
"""

import threading
from collections import Counter

from dashboard.status.models import Stamp
from storage.events import (
    EVENTS,
    Event,
    EventQuarantined,
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
    """Counts, the newest judgment, and what kinds of events have come since the last look. Safe from several threads."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._lock = threading.Lock()
        self._changed: set[type[Event]] = set(EVENTS.values())
        at = {row["station"]: row["n"] for row in warehouse.query("counts").to_pylist()}
        self._counts = Counter({station: at[station] for station in STATIONS.values()})
        self._sources = Counter({(row["station"], row["source"]): row["n"] for row in warehouse.query("sources").to_pylist()})
        self._removed = at["removed"]
        newest = warehouse.query("recent_judgments", {"limit": 1}).to_pylist()
        self._newest = Stamp(id=str(newest[0]["event_id"]), occurred_at=newest[0]["occurred_at"]) if newest else None

    def note(self, applied: Applied) -> None:
        """Add what a commit has stored. Called in the sink's thread."""
        with self._lock:
            for event in applied.stored:
                self._changed.add(type(event))
                if (station := STATIONS.get(type(event))) is not None:
                    self._counts[station] += 1
                    self._sources[station, event.source] += 1
                if isinstance(event, JudgmentGiven) and (self._newest is None or event.occurred_at >= self._newest.occurred_at):
                    self._newest = Stamp(id=str(event.event_id), occurred_at=event.occurred_at)

    def changed(self) -> set[type[Event]]:
        """The kinds that were stored since this was last asked; all of them at first."""
        with self._lock:
            changed, self._changed = self._changed, set()
        if PreferenceRemoved in changed:  # rare, and numbered before it is stored: the rows themselves are asked
            self._removed = next(row["n"] for row in self._warehouse.query("counts").to_pylist() if row["station"] == "removed")
        return changed

    @property
    def counts(self) -> dict[str, int]:
        """By station; of the numbered entries, those that joined and those that removed."""
        with self._lock:
            return dict(self._counts) | {"preferences": self._warehouse.last_sequence - self._removed, "removed": self._removed}

    @property
    def newest(self) -> Stamp | None:
        """The newest judgment that is stored."""
        return self._newest

    @property
    def simulated(self) -> bool:
        """Whether anything that is counted comes from simulated people."""
        with self._lock:
            return any(source == "simulation" and n for (_, source), n in self._sources.items())

    @property
    def judgments(self) -> dict[Source, int]:
        """Judgments by source."""
        with self._lock:
            return {source: n for (station, source), n in self._sources.items() if station == "judgments"}
