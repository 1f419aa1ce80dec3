"""Looking something up on the log without following it: everything on some topics, or one place in a long one."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from storage.events import Event
from streams.bus.protocol import Bus, Logged, Partition
from streams.bus.quarantine import decoded
from streams.bus.topics import Topic

AT_ONCE = 1_000


def beginning(bus: Bus, topics: Collection[str]) -> dict[Partition, int]:
    """The offset before the first entry that each partition of the topics still has."""
    return {partition: first - 1 for partition, (first, _) in bus.bounds(topics).items()}


def batches(bus: Bus, after: Mapping[Partition, int], limit: int = AT_ONCE) -> Iterator[Sequence[Logged]]:
    """Every entry after these offsets, in order within each partition, at most ``limit`` at a time, up to where the log ends."""
    read = dict(after)
    while entries := bus.read(read, limit=limit, wait=0):
        yield entries
        read.update({entry.partition: entry.offset for entry in entries})


def to_end(bus: Bus, topics: Collection[Topic], reader: str) -> Iterator[Event]:
    """Every readable event that the topics have, in order within each partition.

    Raises
    ------
    SchemaTooNew
        After the events before it, where one follows that only a newer program can read.
    """
    for entries in batches(bus, beginning(bus, [topic.name for topic in topics])):
        batch = decoded(entries, reader)
        yield from (event for _, event in batch.events)
        if batch.too_new:
            raise batch.too_new


def last_where(bus: Bus, topic: Topic, holds: Callable[[Event], bool], reader: str) -> tuple[int, Event | None]:
    """The last event of a topic of one partition for which ``holds``, where it holds up to some place and not beyond; and its offset.

    By bisection: about 20 reads of one entry for a million entries. Entries that cannot be read are passed over. Where it holds for none,
    the offset is that before the first entry.
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
    """The first readable event of a topic of one partition at ``offset`` or later, and where it stands."""
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
