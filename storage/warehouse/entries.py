"""Input and result of :meth:`Warehouse.apply`."""

from dataclasses import dataclass
from typing import NamedTuple

from storage.events import Event, Numbered


class Partition(NamedTuple):
    """A partition of a topic; entries are ordered within it."""

    topic: str
    number: int


# (partition, offset, event); the event is None if the bytes were not an event and only the offset advances. Plain tuples, since a batch has
# thousands of them and a NamedTuple costs half a microsecond more.
Entry = tuple[Partition, int, Event | None]
Fact = tuple[Partition, int, Event]


class Refusal(NamedTuple):
    """An entry that cannot be stored and goes to quarantine."""

    entry: Fact
    reason: str


@dataclass(frozen=True)
class Applied:
    """Result of a batch: stored events, number of duplicates skipped, entries for quarantine, preferences numbered; and of erased people,
    the number of events not stored and of stored rows deleted."""

    stored: tuple[Event, ...]
    repeated: int
    refused: tuple[Refusal, ...]
    numbered: tuple[Numbered, ...]
    dropped: int = 0
    deleted: int = 0
