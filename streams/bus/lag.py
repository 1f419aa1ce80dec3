"""Consumer lag by a reader's marks: the import uses it for back-pressure, the sink to tell a late embedding from a lost one."""

from collections.abc import Collection

from streams.bus.protocol import Bus
from streams.bus.topics import Topic


def lag(bus: Bus, reader: str, topics: Collection[Topic]) -> int:
    """Number of entries on the topics that ``reader`` has not marked yet."""
    marked = bus.marked(reader)
    bounds = bus.bounds([topic.name for topic in topics])
    return sum(following - 1 - marked.get(partition, first - 1) for partition, (first, following) in bounds.items())
