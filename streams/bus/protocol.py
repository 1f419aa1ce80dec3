"""The interface of the log between processes, implemented on SQLite and on Kafka.

Offsets count from 0 in each partition; a reader's position is the last offset that it has processed (-1: none).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from storage.events import Event
from storage.events.wire import encode
from storage.warehouse.entries import Partition as Partition  # defined there because the warehouse stores offsets by it
from streams.bus.topics import TOPIC_OF, key_of


class Record(NamedTuple):
    """A record to publish; ``key`` selects the partition."""

    topic: str
    key: bytes
    value: bytes


class Position(NamedTuple):
    partition: Partition
    offset: int


class Logged(NamedTuple):
    """A record on the log, with its position."""

    partition: Partition
    offset: int
    key: bytes
    value: bytes


class Outlet(Protocol):
    """Where events are published: a bus, or the outbox before it."""

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        """Append in order; durable on return. ``Overloaded`` when that takes longer than ``timeout`` seconds."""

    def close(self) -> None: ...


class Bus(Outlet, Protocol):
    """A durable, ordered log of topics. Implementations are safe to use from several threads."""

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        """Append in order; durable on return. A failure may leave some records appended, so a retry may repeat them."""

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        """Up to ``limit`` entries after the given offsets, in order within a partition.

        Blocks until there is at least one, for at most ``wait`` seconds; then returns an empty list.

        Raises
        ------
        OffsetLost
            The log no longer holds the entry after one of the offsets.
        """

    def bounds(self, topics: Collection[str]) -> Mapping[Partition, tuple[int, int]]:
        """For every partition of the topics: the first retained offset, and the next to be assigned."""

    def mark(self, reader: str, upto: Mapping[Partition, int]) -> None:
        """Commit that ``reader`` has processed everything up to these offsets; called after the effect is durable."""

    def marked(self, reader: str) -> Mapping[Partition, int]:
        """The offsets that ``reader`` marked last; partitions without a mark are absent."""

    def close(self) -> None: ...


def records_of(events: Iterable[Event]) -> list[Record]:
    """The events as records, each for its own topic."""
    return [Record(TOPIC_OF[type(event)].name, key_of(event), encode(event)) for event in events]
