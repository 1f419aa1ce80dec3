"""Which events of a batch are new: the same fact may be on the log twice, and counts once.

Every id that was ever stored is remembered by its lower 64 bits, which are random (version 7) or a hash (version 5). An id that is not
among them is new; one that is, is looked up. So the answer is exact at any distance, and a batch without repeats asks for no rows.
"""

import itertools
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


SHORT = 4_096  # numbers that are not worth a run of their own
LOWER = 2**64 - 1


class Seen:
    """A set of 64-bit numbers that only grows: sorted runs, each at least twice as long as the next.

    Eight bytes a number, and a look-up is a binary search in each of the few runs (a log-structured merge tree in memory).
    """

    def __init__(self, numbers: np.ndarray) -> None:
        """``numbers``: uint64 ``(n,)``, in any order."""
        self._runs = [np.sort(numbers)] if len(numbers) else []

    def among(self, numbers: np.ndarray) -> np.ndarray:
        """Which of ``numbers`` were added before: bool ``(n,)``."""
        found = np.zeros(len(numbers), bool)
        order = np.argsort(numbers)  # neighbours are then looked up in the same corner of a run
        asked = numbers[order]
        for run in self._runs:
            found[order] |= run[np.minimum(np.searchsorted(run, asked), len(run) - 1)] == asked
        return found

    def add(self, numbers: np.ndarray) -> None:
        """``numbers``: uint64 ``(n,)``, in any order."""
        run = numbers
        while self._runs and len(self._runs[-1]) < max(2 * len(run), SHORT):
            run = np.concatenate([self._runs.pop(), run])
        if len(run):
            self._runs.append(np.sort(run))


def halves(facts: Iterable[Fact]) -> np.ndarray:
    """The lower halves of the events' ids: uint64 ``(n,)``."""
    return np.fromiter((event.event_id.int & LOWER for _, _, event in facts), np.uint64)


class Sifted(NamedTuple):
    """The facts of a batch: new ones with the lower halves of their ids, repeats, and those whose id was used for something else, with the
    reason."""

    fresh: Sequence[Fact]
    numbers: np.ndarray
    repeated: Sequence[Fact]
    refused: Sequence[Refusal]


class Repeats:
    """The ids of all stored facts; ``stored`` are the lower halves of those that the warehouse held when it was opened."""

    def __init__(self, stored: np.ndarray) -> None:
        self._seen = Seen(stored)

    def sift(self, facts: Sequence[Fact], stored_rows: StoredRows) -> Sifted:
        """Tell the new ones from the rest."""
        numbers = halves(facts)
        known = self._seen.among(numbers)
        ascending = np.sort(numbers)
        if not known.any() and not (ascending[1:] == ascending[:-1]).any():
            return Sifted(facts, numbers, [], [])
        stored = self._look_up([event for _, _, event in itertools.compress(facts, known)], stored_rows)
        here: dict[int, Event] = {}
        fresh: list[Fact] = []
        repeated: list[Fact] = []
        refused: list[Refusal] = []
        for fact in facts:
            event = fact[2]
            number = event.event_id.int
            before = stored.get(number)
            if before is None and (first := here.get(number)) is not None:
                before = type(first), row_of(first)
            if before is None:
                here[number] = event
                fresh.append(fact)
            elif (differing := _differing(before, type(event), row_of(event))) is not None:
                refused.append(Refusal(fact, f"event id {event.event_id} was used before with other content ({differing})"))
            else:
                repeated.append(fact)
        return Sifted(fresh, halves(fresh), repeated, refused)

    def remember(self, sifted: Sifted) -> None:
        """Called when the rows of the new ones are committed."""
        self._seen.add(sifted.numbers)

    @staticmethod
    def _look_up(known: Iterable[Event], stored_rows: StoredRows) -> dict[int, tuple[type[Event], Mapping[str, Any]]]:
        """The stored rows of the ids, of whatever kind they are, by the numbers of the ids."""
        suspects: dict[type[Event], set[UUID]] = defaultdict(set)
        for event in known:
            suspects[type(event)].add(event.event_id)
        found = {UUID(row["event_id"]): (kind, row) for kind, ids in suspects.items() for row in stored_rows(kind, ids)}
        elsewhere = {event_id for ids in suspects.values() for event_id in ids} - found.keys()
        for kind in EVENTS.values() if elsewhere else ():  # an id of another kind, or, once in 2^64, another id with the same half
            found |= {UUID(row["event_id"]): (kind, row) for row in stored_rows(kind, elsewhere)}
        return {event_id.int: row for event_id, row in found.items()}


def _differing(known: tuple[type[Event], Mapping[str, Any]], kind: type[Event], row: Row) -> str | None:
    if known[0] is not kind:
        return f"then {known[0].__name__}, now {kind.__name__}"
    columns = [name for name, value in row.items() if known[1][name] != value]
    return ", ".join(columns) or None
