"""How far readers are: by their marks (back-pressure of the import; late or lost embeddings), or against the ends of topics."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from streams.bus.protocol import Bus, Partition
from streams.bus.topics import Topic


def lag(bus: Bus, reader: str, topics: Collection[Topic]) -> int:
    """Number of entries on the topics that ``reader`` has not marked yet."""
    marked = bus.marked(reader)
    bounds = bus.bounds([topic.name for topic in topics])
    return sum(following - 1 - marked.get(partition, first - 1) for partition, (first, following) in bounds.items())


@dataclass(frozen=True)
class Ends:
    """The last offset of each partition of some topics at one moment."""

    offsets: Mapping[Partition, int]

    def reached_by(self, offsets: Mapping[tuple[str, int], int]) -> bool:
        """Whether a reader that has processed up to ``offsets`` has everything that was there at that moment."""
        return all(offsets.get(partition, -1) >= end for partition, end in self.offsets.items())


def ends_of(bus: Bus, topics: Collection[Topic]) -> Ends:
    """The ends of the topics now."""
    return Ends({partition: following - 1 for partition, (_, following) in bus.bounds([topic.name for topic in topics]).items()})
