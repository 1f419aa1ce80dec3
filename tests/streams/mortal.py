"""Processes that are killed at a moment that the test chooses: nothing of them is left but the log and the files."""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from storage.warehouse.entries import Applied, Entry
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Bus, Logged, Partition, Position, Record
from tests.streams.memory_bus import MemoryBus


class Killed(BaseException):
    """No handler of the program catches it."""


class Fate:
    """Counts the moments at which something has just been done, or is about to be, and kills at the one after ``moments`` others."""

    def __init__(self, moments: int | None = None) -> None:
        self._left = moments
        self.dead = False

    def moment(self) -> None:
        if self._left == 0:
            self.dead = True
        if self.dead:
            raise Killed
        if self._left is not None and threading.current_thread() is threading.main_thread():
            self._left -= 1


class MortalBus(MemoryBus):
    """A process's line to ``log``: it may be killed before, in the middle of and after all that it writes there."""

    def __init__(self, log: Bus, fate: Fate) -> None:
        super().__init__()
        self._log, self._fate = log, fate

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        half = len(records) // 2
        positions: list[Position] = []
        try:
            for part in (records[:half], records[half:]):
                self._fate.moment()
                positions += self._log.publish(part, timeout=timeout) if part else []
            self._fate.moment()
        except Killed:
            if threading.current_thread() is threading.main_thread():
                raise
        return positions  # another thread of a dead process ends without a word

    def mark(self, reader: str, upto: Mapping[Partition, int]) -> None:
        self._fate.moment()
        self._log.mark(reader, upto)
        self._fate.moment()

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        return self._log.read(after, limit=limit, wait=wait)

    def bounds(self, topics: Collection[str]) -> Mapping[Partition, tuple[int, int]]:
        return self._log.bounds(topics)

    def marked(self, reader: str) -> Mapping[Partition, int]:
        return self._log.marked(reader)


class MortalWarehouse(Warehouse):
    """A warehouse whose process may be killed inside and outside of its transactions."""

    fate = Fate()

    @classmethod
    def opened(cls, path: Path, fate: Fate) -> "MortalWarehouse":
        """Open it; what it does from then on is counted by ``fate``."""
        warehouse = cls.open(path)
        assert isinstance(warehouse, MortalWarehouse)
        warehouse.fate = fate
        return warehouse

    def apply(self, batch: Sequence[Entry]) -> Applied:
        self.fate.moment()
        applied = super().apply(batch)
        self.fate.moment()
        return applied

    def _insert(self, table: str, rows: pa.Table) -> None:
        super()._insert(table, rows)
        self.fate.moment()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with super()._transaction():
            yield
            self.fate.moment()  # everything is written and nothing committed
