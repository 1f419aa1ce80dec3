"""Which events of a batch are new: the same fact may be on the log twice, and counts once.

Recent ids are kept in memory; one that is not among them is looked up only where it could be an old one. So the answer is exact at any
distance, and the usual batch asks the warehouse nothing.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from storage.entries import Entry
from storage.errors import EventUnreadable
from storage.events import Event
from storage.rows import row_of

Row = dict[str, Any]
StoredRows = Callable[[type[Event], Collection[UUID]], Sequence[Mapping[str, Any]]]


class Repeats:
    """The ids seen lately.

    Parameters
    ----------
    latest : ids of the newest rows, at most ``WINDOW + 1``; one more than the window means that there are older rows
    newest : the newest id of all rows that was made by a clock
    """

    WINDOW = 200_000

    def __init__(self, latest: Sequence[str], newest: str | None) -> None:
        ids = [UUID(text) for text in reversed(latest)]
        self._order: deque[UUID] = deque(ids)
        self._ids = set(ids)
        # Ids made up to this moment may be stored and forgotten here; later ones, made by a clock (version 7), cannot.
        self._forgotten_until = -1
        if len(ids) > self.WINDOW:
            self._forgotten_until = _milliseconds(UUID(newest)) if newest else 0

    def sift(self, facts: Sequence[Entry], stored_rows: StoredRows) -> tuple[list[tuple[Entry, Row]], list[tuple[Entry, str]]]:
        """The new ones with their rows, and those that cannot be stored with the reason. Repeats are in neither."""
        stored = self._look_up(facts, stored_rows)
        fresh: list[tuple[Entry, Row]] = []
        refused: list[tuple[Entry, str]] = []
        for entry in facts:
            event = entry.event
            if event is None:
                continue
            try:
                row = row_of(event)
            except EventUnreadable as error:
                refused.append((entry, str(error)))
                continue
            known = stored.get(event.event_id)
            if known is None and event.event_id in self._ids:
                refused.append((entry, f"event id {event.event_id} belongs to an event of another kind"))
            elif known is None:
                stored[event.event_id] = (type(event), row)
                fresh.append((entry, row))
            elif (differing := _differing(known, type(event), row)) is not None:
                refused.append((entry, f"event id {event.event_id} was used before with other content ({differing})"))
        return fresh, refused

    def remember(self, ids: Iterable[UUID]) -> None:
        """Called when the rows are committed."""
        for event_id in ids:
            self._ids.add(event_id)
            self._order.append(event_id)
        while len(self._order) > self.WINDOW:
            old = self._order.popleft()
            self._ids.discard(old)
            self._forgotten_until = max(self._forgotten_until, _milliseconds(old) if old.version == 7 else 0)

    def _look_up(self, facts: Sequence[Entry], stored_rows: StoredRows) -> dict[UUID, tuple[type[Event], Mapping[str, Any]]]:
        suspects: dict[type[Event], set[UUID]] = defaultdict(set)
        for entry in facts:
            if entry.event is not None and self._may_be_stored(entry.event.event_id):
                suspects[type(entry.event)].add(entry.event.event_id)
        return {UUID(row["event_id"]): (kind, row) for kind, ids in suspects.items() for row in stored_rows(kind, ids)}

    def _may_be_stored(self, event_id: UUID) -> bool:
        if event_id in self._ids:
            return True
        return self._forgotten_until >= 0 and (event_id.version != 7 or _milliseconds(event_id) <= self._forgotten_until)


def _differing(known: tuple[type[Event], Mapping[str, Any]], kind: type[Event], row: Row) -> str | None:
    if known[0] is not kind:
        return f"then {known[0].__name__}, now {kind.__name__}"
    columns = [name for name, value in row.items() if known[1][name] != value]
    return ", ".join(columns) or None


def _milliseconds(event_id: UUID) -> int:
    return event_id.int >> 80
