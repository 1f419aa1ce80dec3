"""What goes into the warehouse and what comes of it: the entries of a batch, and what became of each."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from storage.events import Event, PreferenceJoined, PreferenceRemoved
from storage.joining import Numbered


class Entry(NamedTuple):
    """An event and where it stands on the log; ``event`` is None where the bytes were no event and only the position counts."""

    topic: str
    partition: int
    offset: int
    event: Event | None


class Refusal(NamedTuple):
    """An entry that cannot become a row, for the quarantine."""

    entry: Entry
    reason: str


@dataclass(frozen=True)
class Applied:
    """What a batch came to: new rows, entries passed over as repeats, entries for the quarantine, preferences numbered by it."""

    stored: tuple[Entry, ...]
    repeated: int
    refused: tuple[Refusal, ...]
    numbered: tuple[Numbered, ...]


def position_of(entry: Entry) -> dict[str, Any]:
    """The columns that say where a row's event stands on the log."""
    return {"log_topic": entry.topic, "log_partition": entry.partition, "log_offset": entry.offset}


def logged_row(entry: Entry) -> dict[str, Any]:
    """The row that remembers where a numbered preference came back from the log."""
    event = entry.event
    assert isinstance(event, PreferenceJoined | PreferenceRemoved)
    return position_of(entry) | {"event_id": event.event_id, "epoch": event.epoch, "sequence": event.sequence}
