"""What goes into the warehouse and what comes of it: the entries of a batch, and what became of each."""

from dataclasses import dataclass
from typing import NamedTuple

from storage.events import Event, Numbered


class Partition(NamedTuple):
    """A part of a topic with an order of its own."""

    topic: str
    number: int


# An event behind its place on the log, partition and offset; None where the bytes were no event and only the place counts. A batch makes a
# thousand of them, and one with names would take half a microsecond more.
Entry = tuple[Partition, int, Event | None]
Fact = tuple[Partition, int, Event]


class Refusal(NamedTuple):
    """An entry that cannot become a row, for the quarantine."""

    entry: Fact
    reason: str


@dataclass(frozen=True)
class Applied:
    """What a batch came to: new rows, how many were passed over as repeats, entries for the quarantine, preferences numbered by it."""

    stored: tuple[Event, ...]
    repeated: int
    refused: tuple[Refusal, ...]
    numbered: tuple[Numbered, ...]
