"""Deduplication of a batch by event id: an event may be on the log more than once, and is stored once.

The lower 64 bits of every stored id are kept in memory; they are random (UUIDv7) or a hash (UUIDv5). An id that is not among them is new;
one that is, is looked up in the tables. Deduplication is thus exact over the whole log, and a batch without duplicates runs no query.

A repeat has the content of the stored event. If its id is derived (UUIDv5), as for a request that a client has repeated with its
idempotency key, the times that the server stamped may differ, and the stored ones hold. So do texts that are sealed under another key, as
after a restart: they cannot be compared without the keys.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from storage.events import EVENTS, Event
from storage.warehouse.entries import Fact, Refusal
from storage.warehouse.rows import row_of

Row = dict[str, Any]
StoredRows = Callable[[type[Event], Collection[UUID]], Sequence[Mapping[str, Any]]]


MIN_RUN = 4_096  # shorter runs are merged
STAMPED = frozenset({"occurred_at", "decided_at"})  # decided_at of an outcome is the time of the request if the client gives none
LOW_64_BITS = 2**64 - 1
TOKEN_IN_ROW = re.compile(r"(?:\x02|\\u0002)[tvg]1:([A-Za-z0-9_-]{16}):[A-Za-z0-9+/]+={0,2}")  # alone, or within a column of JSON


class Seen:
    """A grow-only set of 64-bit numbers, kept as sorted runs, each at least twice as long as the next (an in-memory LSM tree).

    Takes eight bytes per number; a lookup is a binary search in each of the few runs.
    """

    def __init__(self, numbers: np.ndarray) -> None:
        """``numbers``: uint64 ``(n,)``, in any order."""
        self._runs = [np.sort(numbers)] if len(numbers) else []

    def among(self, numbers: np.ndarray) -> np.ndarray:
        """Membership of ``numbers``: bool ``(n,)``."""
        found = np.zeros(len(numbers), bool)
        order = np.argsort(numbers)  # sorted lookups are cache-friendly
        asked = numbers[order]
        for run in self._runs:
            found[order] |= run[np.minimum(np.searchsorted(run, asked), len(run) - 1)] == asked
        return found

    def add(self, numbers: np.ndarray) -> None:
        """``numbers``: uint64 ``(n,)``, in any order."""
        run = numbers
        while self._runs and len(self._runs[-1]) < max(2 * len(run), MIN_RUN):
            run = np.concatenate([self._runs.pop(), run])
        if len(run):
            self._runs.append(np.sort(run))


def lower_halves(facts: Iterable[Fact]) -> np.ndarray:
    """The lower 64 bits of the events' ids: uint64 ``(n,)``."""
    return np.fromiter((event.event_id.int & LOW_64_BITS for _, _, event in facts), np.uint64)


class Deduplicated(NamedTuple):
    """Events of a batch: new ones with the lower 64 bits of their ids, duplicates, and refused ones, whose id has other content, with the
    reason."""

    fresh: Sequence[Fact]
    numbers: np.ndarray
    repeated: Sequence[Fact]
    refused: Sequence[Refusal]


class Deduplicator:
    """Knows the ids of all stored events; ``stored`` are the lower 64 bits of those in the warehouse when it is opened."""

    def __init__(self, stored: np.ndarray) -> None:
        self._seen = Seen(stored)

    def split(self, facts: Sequence[Fact], stored_rows: StoredRows) -> Deduplicated:
        """Split a batch into new, duplicate and refused events."""
        numbers = lower_halves(facts)
        known = self._seen.among(numbers)
        ascending = np.sort(numbers)
        if not known.any() and not (ascending[1:] == ascending[:-1]).any():
            return Deduplicated(facts, numbers, [], [])
        stored = self._look_up([event for _, _, event in itertools.compress(facts, known)], stored_rows)
        in_batch: dict[int, Event] = {}
        fresh: list[Fact] = []
        repeated: list[Fact] = []
        refused: list[Refusal] = []
        for fact in facts:
            event = fact[2]
            number = event.event_id.int
            stored_row = stored.get(number)
            if stored_row is None and (first := in_batch.get(number)) is not None:
                stored_row = type(first), row_of(first)
            if stored_row is None:
                in_batch[number] = event
                fresh.append(fact)
            elif (differing := _differing(stored_row, type(event), row_of(event))) is not None:
                refused.append(Refusal(fact, f"event id {event.event_id} was used before with other content ({differing})"))
            else:
                repeated.append(fact)
        return Deduplicated(fresh, lower_halves(fresh), repeated, refused)

    def remember(self, batch: Deduplicated) -> None:
        """Add the new ids; call it after their rows are committed."""
        self._seen.add(batch.numbers)

    @staticmethod
    def _look_up(known: Iterable[Event], stored_rows: StoredRows) -> dict[int, tuple[type[Event], Mapping[str, Any]]]:
        """Stored rows with the ids of ``known``, of any kind, by id as an integer."""
        suspects: dict[type[Event], set[UUID]] = defaultdict(set)
        for event in known:
            suspects[type(event)].add(event.event_id)
        found = {UUID(row["event_id"]): (kind, row) for kind, ids in suspects.items() for row in stored_rows(kind, ids)}
        elsewhere = {event_id for ids in suspects.values() for event_id in ids} - found.keys()
        for kind in EVENTS.values() if elsewhere else ():  # the id is in another table, or, once in 2^64, only its lower half is known
            found |= {UUID(row["event_id"]): (kind, row) for row in stored_rows(kind, elsewhere)}
        return {event_id.int: row for event_id, row in found.items()}


def _differing(known: tuple[type[Event], Mapping[str, Any]], kind: type[Event], row: Row) -> str | None:
    if known[0] is not kind:
        return f"then {known[0].__name__}, now {kind.__name__}"
    stamped = STAMPED if UUID(row["event_id"]).version == 5 else frozenset()
    columns = [name for name, value in row.items() if name not in stamped and not _same(known[1][name], value)]
    return ", ".join(columns) or None


def _same(stored: Any, given: Any) -> bool:
    """Whether both are equal, or hold sealed texts in the same places, under other keys."""
    if stored == given:
        return True
    if not isinstance(stored, str) or not isinstance(given, str):
        return False
    known, other = (set(TOKEN_IN_ROW.findall(text)) for text in (stored, given))
    return known.isdisjoint(other) and TOKEN_IN_ROW.sub("\x02", stored) == TOKEN_IN_ROW.sub("\x02", given)
