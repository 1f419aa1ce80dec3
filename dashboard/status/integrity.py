"""Readings of vote integrity: which judgments are odd, by recruiter."""

import threading
from collections.abc import Mapping

from dashboard.status.models import Shown
from storage.events import Moment
from storage.warehouse.warehouse import Warehouse
from streams.integrity import Flag, Given, State, Unchecked, counted, verdicts

CHECKED = 20_000  # the newest judgments, which are checked
LISTED = 200  # of the odd ones, the newest


class Votes(Shown):
    """How many judgments of a recruiter are fine, flagged, or could not be checked in full."""

    recruiter: str
    fine: int
    flagged: int
    unchecked: int


class OddVote(Shown):
    """A judgment that is not fine, and why: ``flags`` are what is odd, ``unchecked`` what could not be checked."""

    event_id: str
    pair_id: str
    recruiter: str
    occurred_at: Moment
    state: State
    flags: tuple[Flag, ...]
    unchecked: tuple[Unchecked, ...]


class Integrity(Shown):
    """The newest judgments by people, checked: ``checked`` of them. No judgment is dropped for what is found."""

    checked: int
    recruiters: tuple[Votes, ...]
    odd: tuple[OddVote, ...]


class IntegrityReadings:
    """Checks the newest judgments when somebody asks, once for each state of the warehouse."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._lock = threading.Lock()
        self._made: tuple[Mapping[tuple[str, int], int], Integrity] | None = None

    def take(self) -> Integrity:
        """A reading of everything in the warehouse."""
        with self._lock:
            offsets = self._warehouse.offsets()
            if self._made is None or self._made[0] != offsets:
                self._made = offsets, integrity(self._warehouse)
            return self._made[1]


def integrity(warehouse: Warehouse) -> Integrity:
    """Check the newest judgments."""
    rows = warehouse.query("judgments_checked", {"limit": CHECKED}).to_pylist()
    judgments = [
        Given(
            event_id=str(row["event_id"]),
            pair_id=str(row["pair_id"]),
            recruiter=row["recruiter"],
            occurred_at=row["occurred_at"],
            choice=row["choice"],
            shown_first=row["shown_first"],
            authors=None if row["a_version"] is None else (row["a_version"], row["b_version"]),
            rewrite=bool(row["rewrite"]),
        )
        for row in rows
    ]
    found = verdicts(judgments)
    votes = [
        Votes(recruiter=who, fine=each["fine"], flagged=each["flagged"], unchecked=each["unchecked"])
        for who, each in counted(judgments, found).items()
    ]
    odd = [
        OddVote(
            event_id=each.event_id,
            pair_id=each.pair_id,
            recruiter=each.recruiter,
            occurred_at=each.occurred_at,
            state=verdict.state,
            flags=verdict.flags,
            unchecked=verdict.unchecked,
        )
        for each, verdict in zip(judgments, found, strict=True)
        if verdict.state != "fine"
    ]
    odd.sort(key=lambda each: (each.state == "flagged", each.occurred_at), reverse=True)
    return Integrity(
        checked=len(judgments),
        recruiters=tuple(sorted(votes, key=lambda each: (-each.flagged, -each.unchecked, each.recruiter))),
        odd=tuple(odd[:LISTED]),
    )
