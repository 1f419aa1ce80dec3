"""Reads ``feedback.preferences`` in the order of its numbers: repeats are passed over, holes seen, a deposed hub's entries ignored.

The hub finds here what it has published, the learner what comes next.
"""

from dataclasses import dataclass

from storage.errors import EventUnreadable, OffsetLost
from storage.events import Event, HubClaimed, PreferenceJoined, PreferenceRemoved
from streams.bus import Bus, Partition
from streams.quarantine import event_in
from streams.topics import PREFERENCES

PARTITION = Partition(PREFERENCES.name, 0)
Numbered = PreferenceJoined | PreferenceRemoved


@dataclass(frozen=True)
class Place:
    """How far a reader has come: the highest epoch claimed and the last number taken."""

    epoch: int = 0
    sequence: int = 0


class SequenceGap(Exception):
    """The next number is not the one after the last taken; the reader has to go back to the log."""

    def __init__(self, place: Place, event: Numbered) -> None:
        super().__init__(f"{PREFERENCES.name}: number {event.sequence} came after {place.sequence}")


def advance(place: Place, event: Event) -> tuple[Place, Numbered | None]:
    """The place after one more entry, and the entry itself where it is the next number.

    None for a claim, a repeat, and what a hub publishes after another has claimed a higher epoch. Raises ``SequenceGap`` on a hole.
    """
    match event:
        case HubClaimed():
            return Place(max(place.epoch, event.epoch), place.sequence), None
        case PreferenceJoined() | PreferenceRemoved():
            if event.epoch < place.epoch or event.sequence <= place.sequence:
                return place, None
            if event.sequence > place.sequence + 1:
                raise SequenceGap(place, event)
            return Place(event.epoch, event.sequence), event
    return place, None


def resume(bus: Bus, reader: str) -> tuple[int, Place]:
    """The offset that ``reader`` marked and the place there, read from the entry itself; the start where there is no such entry.

    A reader marks the last *numbered* entry that it took, because that says both epoch and number.
    """
    ((first, following),) = bus.bounds([PREFERENCES.name]).values()
    offset = bus.marked(reader).get(PARTITION, -1)
    if first <= offset < following:
        (entry,) = bus.read({PARTITION: offset - 1}, limit=1, wait=0)
        try:
            event = event_in(entry)
        except EventUnreadable:
            return first - 1, Place()
        if isinstance(event, PreferenceJoined | PreferenceRemoved):
            return offset, Place(event.epoch, event.sequence)
    if first > 0:
        raise OffsetLost(f"{PREFERENCES.name}: the log begins at offset {first}; the entries before are needed and gone")
    return -1, Place()
