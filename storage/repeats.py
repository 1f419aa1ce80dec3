"""Which events of a batch are new: the same fact may be on the log twice, and counts once.

Every id that was ever stored is remembered by 64 of its bits, eight bytes an event. An id that is not among them is new; one that is, is
looked up. So the answer is exact at any distance, and a batch without repeats asks the warehouse nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np

from storage.entries import Entry
from storage.errors import EventUnreadable
from storage.events import EVENTS, Event
from storage.rows import refuse_unstorable, row_of

Row = dict[str, Any]
StoredRows = Callable[[type[Event], Collection[UUID]], Sequence[Mapping[str, Any]]]

LOW = 2**64 - 1  # the half of a UUID that is random (version 7) or a hash (version 5)


class Seen:
    """A set of 64-bit numbers that only grows: sorted runs, each at least twice as long as the next, and the newest in a set.

    Eight bytes a number, and a look-up is a binary search in each of the few runs (a log-structured merge tree in memory).
    """

    NEWEST = 20_000

    def __init__(self, numbers: np.ndarray) -> None:
        """``numbers``: uint64 ``(n,)``, in any order."""
        self._runs = [np.unique(numbers)] if len(numbers) else []
        self._newest: set[int] = set()

    def __len__(self) -> int:
        return sum(map(len, self._runs)) + len(self._newest)

    def among(self, numbers: Sequence[int]) -> set[int]:
        """Those of ``numbers`` that were added before."""
        found = self._newest.intersection(numbers)
        asked = np.array(numbers, np.uint64)
        for run in self._runs:
            at = np.searchsorted(run, asked)
            hit = run[np.minimum(at, len(run) - 1)] == asked
            found.update(map(int, asked[hit]))
        return found

    def add(self, numbers: Iterable[int]) -> None:
        self._newest.update(numbers)
        if len(self._newest) < self.NEWEST:
            return
        run = np.fromiter(self._newest, np.uint64, len(self._newest))
        self._newest = set()
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.concatenate([self._runs.pop(), run])
        self._runs.append(np.unique(run))


class Repeats:
    """The ids of all stored facts; ``stored`` are the lower halves of those that the warehouse held when it was opened."""

    def __init__(self, stored: np.ndarray) -> None:
        self._seen = Seen(stored)

    def sift(self, facts: Sequence[Entry], stored_rows: StoredRows) -> tuple[list[Entry], list[tuple[Entry, str]]]:
        """The new ones, and those that cannot be stored with the reason. Repeats are in neither."""
        stored = self._look_up(facts, stored_rows)
        here: dict[UUID, Event] = {}
        fresh: list[Entry] = []
        refused: list[tuple[Entry, str]] = []
        for entry in facts:
            event = entry.event
            if event is None:
                continue
            try:
                refuse_unstorable(event)
            except EventUnreadable as error:
                refused.append((entry, str(error)))
                continue
            known = stored.get(event.event_id)
            if known is None and (first := here.get(event.event_id)) is not None:
                known = type(first), row_of(first)
            if known is None:
                here[event.event_id] = event
                fresh.append(entry)
            elif (differing := _differing(known, type(event), row_of(event))) is not None:
                refused.append((entry, f"event id {event.event_id} was used before with other content ({differing})"))
        return fresh, refused

    def remember(self, ids: Iterable[UUID]) -> None:
        """Called when the rows are committed."""
        self._seen.add(event_id.int & LOW for event_id in ids)

    def _look_up(self, facts: Sequence[Entry], stored_rows: StoredRows) -> dict[UUID, tuple[type[Event], Mapping[str, Any]]]:
        """The stored rows of the ids that are known, of whatever kind they are."""
        events = {entry.event.event_id: type(entry.event) for entry in facts if entry.event is not None}
        known = self._seen.among([event_id.int & LOW for event_id in events])
        suspects: dict[type[Event], set[UUID]] = defaultdict(set)
        for event_id, kind in events.items():
            if event_id.int & LOW in known:
                suspects[kind].add(event_id)
        found = {UUID(row["event_id"]): (kind, row) for kind, ids in suspects.items() for row in stored_rows(kind, ids)}
        elsewhere = {event_id for ids in suspects.values() for event_id in ids} - found.keys()
        for kind in EVENTS.values() if elsewhere else ():  # an id of another kind, or, once in 2^64, another id with the same half
            found |= {UUID(row["event_id"]): (kind, row) for row in stored_rows(kind, elsewhere)}
        return found


def _differing(known: tuple[type[Event], Mapping[str, Any]], kind: type[Event], row: Row) -> str | None:
    if known[0] is not kind:
        return f"then {known[0].__name__}, now {kind.__name__}"
    columns = [name for name, value in row.items() if known[1][name] != value]
    return ", ".join(columns) or None
