"""The log in one SQLite file: the embedded default, for several processes on one machine, with nothing to install.

One partition per topic. What a call to ``publish`` appends is in one transaction, flushed to disk (WAL, ``synchronous=FULL``) before it
returns; calls of several threads at the same time share one.
Readers are woken through sockets (``streams.bus.wakeup``) and poll the file every 50 ms in case a wake-up was missed.
"""

import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from storage.errors import ConfigurationError, OffsetLost, Overloaded, trying_again
from streams.bus.group_commit import GroupCommit
from streams.bus.protocol import Logged, Partition, Position, Record
from streams.bus.wakeup import Bell, Ringer, bell_folder

POLL = 0.05  # seconds: the maximum delay of a reader that missed its wake-up
BUSY_TIMEOUT = 30.0  # seconds to wait for another process's transaction when reading and marking
APPLICATION_ID = 0x66626C31  # "fbl1" in the file header; guards against opening another program's database

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, offset INTEGER NOT NULL, key BLOB NOT NULL,
                                value BLOB NOT NULL, UNIQUE (topic, offset));
CREATE TABLE IF NOT EXISTS head (topic TEXT PRIMARY KEY, first INTEGER NOT NULL, next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offsets (reader TEXT, topic TEXT, upto INTEGER NOT NULL, PRIMARY KEY (reader, topic)) WITHOUT ROWID;
"""
NEXT = "SELECT next FROM head WHERE topic = ?"
APPEND = "INSERT INTO log (topic, offset, key, value) VALUES (?, ?, ?, ?)"
ADVANCE = "INSERT INTO head VALUES (?, 0, ?) ON CONFLICT (topic) DO UPDATE SET next = excluded.next"
BOUNDS = "SELECT first, next FROM head WHERE topic = ?"
IDS_AFTER = "SELECT id FROM log WHERE topic = ? AND offset > ? ORDER BY offset LIMIT ?"  # answered from the index alone
ENTRIES = "SELECT topic, offset, key, value FROM log WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
MARK = "INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT (reader, topic) DO UPDATE SET upto = excluded.upto"
PRUNE = "DELETE FROM log WHERE topic = ? AND offset <= ?"
SET_FIRST = "UPDATE head SET first = max(first, ?) WHERE topic = ?"
SIZE = "SELECT count(*), coalesce(sum(length(value)), 0) FROM log"
MARKED = "SELECT topic, upto FROM offsets WHERE reader = ?"


class SQLiteBus:
    """The ``Bus`` on the file ``path``; safe to use from several threads and processes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self._writing = threading.Lock()
        self._group = GroupCommit(self._commit)
        self._guard = threading.Lock()
        self._idle: list[_Reader] = []
        self._closed = False
        folder = bell_folder(self.path)
        self._folder = folder
        self._ringer = Ringer(folder)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._writer = self._connect()
            if not _is_prepared(self._writer):  # else a reader would wait for whoever is writing
                with self._transaction(self._writer, BUSY_TIMEOUT):
                    _prepare(self._writer, self.path)
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(f"bus = sqlite:///{self.path}: {error}; use a file that this program can write") from error

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        """Append in one transaction. ``Overloaded`` when the file stays locked beyond ``timeout`` seconds or the disk is full."""
        return self._group.publish(records, timeout) if records else []

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        """Entries in the order in which they were published, across all requested topics."""
        deadline = time.monotonic() + wait
        topics = {_topic(partition) for partition in after}
        with trying_again(), self._reader() as reader:
            while True:
                reader.bell.clear()  # before the query, so that a record published during it wakes the reader again
                entries = _entries(reader.connection, after, limit)
                if entries or self._closed:
                    return entries
                until = min(deadline, time.monotonic() + POLL)
                while (left := until - time.monotonic()) > 0 and not reader.bell.wait(left, topics):
                    pass
                if time.monotonic() >= deadline:
                    return _entries(reader.connection, after, limit)

    def bounds(self, topics: Collection[str]) -> Mapping[Partition, tuple[int, int]]:
        with trying_again(), self._reader() as reader:
            rows = {topic: reader.connection.execute(BOUNDS, (topic,)).fetchone() for topic in topics}
        return {Partition(topic, 0): row or (0, 0) for topic, row in rows.items()}

    def mark(self, reader: str, upto: Mapping[Partition, int]) -> None:
        with trying_again(), self._writing, self._transaction(self._writer, BUSY_TIMEOUT):
            self._writer.executemany(MARK, [(reader, _topic(partition), offset) for partition, offset in upto.items()])

    def marked(self, reader: str) -> Mapping[Partition, int]:
        with trying_again(), self._reader() as idle:
            return {Partition(topic, 0): upto for topic, upto in idle.connection.execute(MARKED, (reader,))}

    def prune(self, upto: Mapping[Partition, int]) -> None:
        """Delete the entries up to these offsets; reading them later raises ``OffsetLost``."""
        with trying_again(), self._writing, self._transaction(self._writer, BUSY_TIMEOUT):
            self._writer.executemany(PRUNE, [(_topic(partition), offset) for partition, offset in upto.items()])
            self._writer.executemany(SET_FIRST, [(offset + 1, _topic(partition)) for partition, offset in upto.items()])

    def size(self) -> tuple[int, int]:
        """Number of retained entries, and the size of their values in bytes."""
        with trying_again(), self._reader() as reader:
            count, size = reader.connection.execute(SIZE).fetchone()
        return count, size

    def close(self) -> None:
        """Close the file; blocked reads in other threads return an empty list."""
        with self._writing, self._guard:
            self._closed = True
            for reader in self._idle:
                reader.close()
            self._idle.clear()
            self._writer.close()

    def __enter__(self) -> "SQLiteBus":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _commit(self, records: Sequence[Record], deadline: float) -> list[Position]:
        if not self._writing.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise Overloaded(f"the log {self.path} is busy; try again")
        try:
            with self._transaction(self._writer, max(deadline - time.monotonic(), 0.001)):
                positions = self._append(records)
        except sqlite3.OperationalError as error:
            raise Overloaded(f"cannot write to the log {self.path}: {error}; try again") from error
        finally:
            self._writing.release()
        self._ringer.ring({record.topic for record in records})
        return positions

    def _append(self, records: Sequence[Record]) -> list[Position]:
        following: dict[str, int] = {}
        positions, rows = [], []
        for record in records:
            if record.topic not in following:
                row = self._writer.execute(NEXT, (record.topic,)).fetchone()
                following[record.topic] = row[0] if row else 0
            offset = following[record.topic]
            following[record.topic] = offset + 1
            rows.append((record.topic, offset, record.key, record.value))
            positions.append(Position(Partition(record.topic, 0), offset))
        self._writer.executemany(APPEND, rows)
        self._writer.executemany(ADVANCE, following.items())
        return positions

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection, timeout: float) -> Iterator[None]:
        connection.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # on a full disk SQLite may have rolled back already
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _reader(self) -> Iterator["_Reader"]:
        """Borrow a connection and its bell from the pool, which grows to the number of concurrent readers."""
        with self._guard:
            reader = self._idle.pop() if self._idle else None
        reader = reader or _Reader(self._connect(), Bell(self._folder))
        try:
            yield reader
        finally:
            with self._guard:
                if self._closed:
                    reader.close()
                else:
                    self._idle.append(reader)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection


class _Reader:
    def __init__(self, connection: sqlite3.Connection, bell: Bell) -> None:
        self.connection = connection
        self.bell = bell

    def close(self) -> None:
        self.bell.close()
        self.connection.close()


def _entries(connection: sqlite3.Connection, after: Mapping[Partition, int], limit: int) -> list[Logged]:
    """The next entries in commit order: first the ids over all topics, from the index, then only the rows that are returned."""
    ids: list[int] = []
    connection.execute("BEGIN")  # one consistent snapshot for bounds and rows
    try:
        for partition, offset in after.items():
            first, following = connection.execute(BOUNDS, (partition.topic,)).fetchone() or (0, 0)
            if not first <= offset + 1 <= following:
                held = f"it holds {first} to {following - 1}" if following > first else "it is empty"
                raise OffsetLost(
                    f"{partition.topic}: offset {offset + 1} is not in the log, {held}; rebuild the reader's state with 'replay'"
                )
            if offset + 1 < following:
                ids.extend(row[0] for row in connection.execute(IDS_AFTER, (partition.topic, offset, limit)))
        if not ids:
            return []
        chosen = sorted(ids)[:limit]
        rows = connection.execute(ENTRIES, (str(chosen),)).fetchall()
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    return [Logged(Partition(topic, 0), offset, key, value) for topic, offset, key, value in rows]


def _is_prepared(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)  # set together with the tables


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and not _is_prepared(connection):
        raise ConfigurationError(f"bus = sqlite:///{path}: this is the database of another program; use a file of its own")
    for statement in filter(str.strip, SCHEMA.split(";")):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _topic(partition: Partition) -> str:
    if partition.number:
        raise ConfigurationError(f"{partition.topic} has only partition 0 on the SQLite bus, not {partition.number}")
    return partition.topic
