"""A bus in memory, for tests that need none of its durability; it passes the same contract tests as the real ones."""

import threading
from collections.abc import Collection, Mapping, Sequence

from storage.errors import OffsetLost
from streams.bus.protocol import Logged, Partition, Position, Record


class MemoryBus:
    def __init__(self) -> None:
        self._logs: dict[str, list[tuple[int, Logged]]] = {}
        self._marks: dict[str, dict[Partition, int]] = {}
        self._changed = threading.Condition()
        self._count = 0

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        positions = []
        with self._changed:
            for topic, key, value in records:
                log = self._logs.setdefault(topic, [])
                entry = Logged(Partition(topic, 0), len(log), key, value)
                log.append((self._count, entry))
                self._count += 1
                positions.append(Position(entry.partition, entry.offset))
            self._changed.notify_all()
        return positions

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        with self._changed:
            self._changed.wait_for(lambda: self._beyond(after), timeout=wait)
            return [entry for _, entry in sorted(self._beyond(after))[:limit]]

    def bounds(self, topics: Collection[str]) -> Mapping[Partition, tuple[int, int]]:
        with self._changed:
            return {Partition(topic, 0): (0, len(self._logs.get(topic, ()))) for topic in topics}

    def mark(self, reader: str, upto: Mapping[Partition, int]) -> None:
        with self._changed:
            self._marks.setdefault(reader, {}).update(upto)

    def marked(self, reader: str) -> Mapping[Partition, int]:
        with self._changed:
            return dict(self._marks.get(reader, {}))

    def close(self) -> None:
        pass

    def _beyond(self, after: Mapping[Partition, int]) -> list[tuple[int, Logged]]:
        found = []
        for partition, offset in after.items():
            log = self._logs.get(partition.topic, [])
            if not -1 <= offset < max(len(log), 1) and offset != len(log) - 1:
                raise OffsetLost(f"{partition.topic}: offset {offset + 1} is not in the log")
            found += log[offset + 1 :]
        return found
