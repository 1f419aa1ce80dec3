"""One-off reads of the log: everything on some topics, or a search for one entry."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from storage.events import Event
from streams.bus.protocol import Bus, Logged, Partition
from streams.bus.quarantine import decoded
from streams.bus.topics import Topic

BATCH = 1_000


def beginning(bus: Bus, topics: Collection[str]) -> dict[Partition, int]:
    """The offset before the first retained entry of each partition."""
    return {partition: first - 1 for partition, (first, _) in bus.bounds(topics).items()}


def batches(bus: Bus, after: Mapping[Partition, int], limit: int = BATCH) -> Iterator[Sequence[Logged]]:
    """Every entry after these offsets up to the end of the log, in order within each partition, at most ``limit`` at a time."""
    read = dict(after)
    while entries := bus.read(read, limit=limit, wait=0):
        yield entries
        read.update({entry.partition: entry.offset for entry in entries})


def to_end(bus: Bus, topics: Collection[Topic], reader: str) -> Iterator[Event]:
    """Every readable event on the topics, in order within each partition.

    Raises
    ------
    SchemaTooNew
        At an event with a newer schema version, after all events before it were yielded.
    """
    for entries in batches(bus, beginning(bus, [topic.name for topic in topics])):
        batch = decoded(entries, reader)
        yield from (event for _, event in batch.events)
        if batch.too_new:
            raise batch.too_new


def last_where(bus: Bus, topic: Topic, holds: Callable[[Event], bool], reader: str) -> tuple[int, Event | None]:
    """Offset and event of the last event for which ``holds``, on a topic of one partition along which ``holds`` turns false only once.

    Binary search: about 20 single-entry reads for a million entries. Unreadable entries are skipped. When no event holds, the offset
    is that before the first entry.
    """
    ((_, (low, high)),) = bus.bounds([topic.name]).items()
    found: tuple[int, Event | None] = low - 1, None
    while low < high:
        middle = (low + high) // 2
        at, event = first_from(bus, topic, middle, reader)
        if event is not None and at < high and holds(event):
            found, low = (at, event), at + 1
        else:
            high = middle
    return found


def first_from(bus: Bus, topic: Topic, offset: int, reader: str) -> tuple[int, Event | None]:
    """Offset and event of the first readable event at ``offset`` or later, on a topic of one partition."""
    ((partition, (first, end)),) = bus.bounds([topic.name]).items()
    at = max(offset, first)
    while at < end:
        batch = decoded(bus.read({partition: at - 1}, limit=1, wait=0), reader)
        if batch.too_new:
            raise batch.too_new
        for entry, event in batch.events:
            return entry.offset, event
        at += 1
    return end, None
