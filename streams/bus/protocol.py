"""The log between processes: as few methods as both implementations need.

Offsets count from 0 in each partition; a reader's position is the last offset that it has dealt with (-1: none).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from storage.events import Event
from storage.events.wire import encode
from storage.warehouse.entries import Partition as Partition  # the log's own word; the warehouse remembers by it how far it has come
from streams.bus.topics import TOPIC_OF, key_of


class Record(NamedTuple):
    """What is published: ``key`` decides the partition."""

    topic: str
    key: bytes
    value: bytes


class Position(NamedTuple):
    partition: Partition
    offset: int


class Logged(NamedTuple):
    """What was published, and where it stands."""

    partition: Partition
    offset: int
    key: bytes
    value: bytes


class Outlet(Protocol):
    """Where events are published: a bus, or the local log before it."""

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        """Append in order; durable on return. ``Overloaded`` when it takes nothing within ``timeout`` seconds."""

    def close(self) -> None: ...


class Bus(Outlet, Protocol):
    """A durable, ordered log of topics. Implementations are safe to use from several threads."""

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        """Append in order; durable on return. A failure may leave a part appended, so that trying again may repeat it."""

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        """Up to ``limit`` entries beyond the given offsets, in order within a partition; wakes as soon as there is one.

        Empty when none has come after ``wait`` seconds.

        Raises
        ------
        OffsetLost
            The log no longer holds the entry after one of the offsets.
        """

    def bounds(self, topics: Collection[str]) -> Mapping[Partition, tuple[int, int]]:
        """For every partition of the topics: the first offset kept, and the next that will be given."""

    def mark(self, reader: str, upto: Mapping[Partition, int]) -> None:
        """Remember that ``reader`` has dealt with everything up to these offsets. Called after the effect."""

    def marked(self, reader: str) -> Mapping[Partition, int]:
        """What ``reader`` marked last, for the partitions where it did."""

    def close(self) -> None: ...


def records_of(events: Iterable[Event]) -> list[Record]:
    """The events as they are published, each on its own topic."""
    return [Record(TOPIC_OF[type(event)].name, key_of(event), encode(event)) for event in events]
