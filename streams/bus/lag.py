"""How far readers are behind the log, by their marks: what the import paces itself by, and whether an embedding is late or lost."""

from collections.abc import Collection

from streams.bus.protocol import Bus
from streams.bus.topics import Topic


def lag(bus: Bus, reader: str, topics: Collection[Topic]) -> int:
    """Entries of the topics that ``reader`` has not dealt with."""
    marked = bus.marked(reader)
    bounds = bus.bounds([topic.name for topic in topics])
    return sum(following - 1 - marked.get(partition, first - 1) for partition, (first, following) in bounds.items())
