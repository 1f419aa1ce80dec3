"""Simulates processes that are killed at a chosen point: only the log and the files survive."""

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
    """Not an ``Exception``, so that no handler catches it."""


class KillSwitch:
    """Counts the points before and after each write, and raises ``Killed`` at the one after ``moments`` others."""

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
    """A process's connection to ``log``, which may be killed before, during and after each write."""

    def __init__(self, log: Bus, switch: KillSwitch) -> None:
        super().__init__()
        self._log, self._switch = log, switch

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        half = len(records) // 2
        positions: list[Position] = []
        try:
            for part in (records[:half], records[half:]):
                self._switch.moment()
                positions += self._log.publish(part, timeout=timeout) if part else []
            self._switch.moment()
        except Killed:
            if threading.current_thread() is threading.main_thread():
                raise
        return positions  # in other threads of a dead process the write is silently dropped

    def mark(self, reader: str, upto: Mapping[Partition, int]) -> None:
        self._switch.moment()
        self._log.mark(reader, upto)
        self._switch.moment()

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        return self._log.read(after, limit=limit, wait=wait)

    def bounds(self, topics: Collection[str]) -> Mapping[Partition, tuple[int, int]]:
        return self._log.bounds(topics)

    def marked(self, reader: str) -> Mapping[Partition, int]:
        return self._log.marked(reader)


class MortalWarehouse(Warehouse):
    """A warehouse whose process may be killed inside and outside its transactions."""

    switch = KillSwitch()

    @classmethod
    def opened(cls, path: Path, switch: KillSwitch) -> "MortalWarehouse":
        """Open it, and count what it does from then on with ``switch``."""
        warehouse = cls.open(path)
        assert isinstance(warehouse, MortalWarehouse)
        warehouse.switch = switch
        return warehouse

    def apply(self, batch: Sequence[Entry]) -> Applied:
        self.switch.moment()
        applied = super().apply(batch)
        self.switch.moment()
        return applied

    def _insert(self, table: str, rows: pa.Table) -> None:
        super()._insert(table, rows)
        self.switch.moment()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with super()._transaction():
            yield
            self.switch.moment()  # everything is written and nothing committed
