"""Feedback that could not be delivered, in a local SQLite file until it can be.

Filled and emptied by :mod:`feedbackloop.delivery`. Every operation opens the file anew, so that threads, forked processes and processes
that know nothing of each other can share it.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedbackloop.calls.call import Call, new_key
from feedbackloop.errors import APIError, SpoolError, SpoolFull

MAX_BYTES = 64 * 2**20  # about 200,000 judgments
BUSY_TIMEOUT = 10.0  # seconds to wait for another process's transaction
READ = "BEGIN"  # a transaction that takes no write lock
VERSION = 1  # of the schema, in SQLite's user_version

CREATE = """
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body BLOB NOT NULL,
    spooled_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
    status INTEGER,
    reason TEXT,
    UNIQUE (path, idempotency_key)
)
"""
# A waiting call with the same key stays where it is. A refused one may come again, corrected.
REFUSED_BEFORE = "DELETE FROM calls WHERE path = ? AND idempotency_key = ? AND reason IS NOT NULL"
APPEND = "INSERT INTO calls (path, idempotency_key, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
FIRST = "SELECT number, path, idempotency_key, body, spooled_at, status, reason FROM calls WHERE reason IS NULL ORDER BY number LIMIT 1"
WAITING = "SELECT count(*) FROM calls WHERE reason IS NULL"
REFUSED = "SELECT number, path, idempotency_key, body, spooled_at, status, reason FROM calls WHERE reason IS NOT NULL ORDER BY number"
REMOVE = "DELETE FROM calls WHERE number = ?"
SET_ASIDE = "UPDATE calls SET status = ?, reason = ?, body = ?, idempotency_key = ? WHERE number = ?"
REQUEUE = """
UPDATE calls SET number = (SELECT max(number) + 1 FROM calls), status = NULL, reason = NULL WHERE number = ? AND reason IS NOT NULL
"""


@dataclass(frozen=True)
class SpooledCall:
    """A call in the spool.

    Attributes
    ----------
    spooled_at : UTC, in ISO 8601
    status, reason : why the server refused it; None while it waits
    """

    number: int
    path: str
    key: str
    body: bytes
    spooled_at: str
    status: int | None
    reason: str | None

    @property
    def fields(self) -> dict[str, Any]:
        """The body's fields."""
        fields: dict[str, Any] = json.loads(self.body)
        return fields

    @property
    def call(self) -> Call[Any]:
        return Call("POST", self.path, lambda answer: answer, self.body, self.key)


class Spool:
    """A queue of calls in a file that is readable by its owner only. Everything is on disk when a method returns.

    Parameters
    ----------
    path : the file, made if it is missing; beside it lies one that ends in ``-lock``
    max_bytes : size beyond which :class:`feedbackloop.SpoolFull` is raised

    Raises
    ------
    SpoolError
        The file cannot be read or written, or is not a spool.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> None:
        self.path, self.max_bytes = Path(path).absolute(), max_bytes
        self._lock = self.path.with_name(f"{self.path.name}-lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for file in (self.path, self._lock):
                os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise SpoolError(f"spool {self.path}: {error}") from error
        with self._opened() as database:
            [version] = database.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise SpoolError(f"spool {self.path}: written by a newer version of feedbackloop; upgrade this one")
            database.execute(CREATE)
            if version < VERSION:
                database.execute(f"PRAGMA user_version = {VERSION}")

    def waiting(self) -> int:
        """How many calls are waiting to be sent."""
        with self._opened(READ) as database:
            [count] = database.execute(WAITING).fetchone()
        return int(count)

    def refused(self) -> list[SpooledCall]:
        """The calls that the server refused, oldest first."""
        with self._opened(READ) as database:
            return [SpooledCall(*row) for row in database.execute(REFUSED)]

    def forget(self, call: SpooledCall) -> None:
        """Remove a call."""
        with self._opened() as database:
            database.execute(REMOVE, (call.number,))

    def requeue(self, call: SpooledCall) -> None:
        """Queue a refused call again, behind those that wait, such as after a wrong address was corrected; no-op for one that waits."""
        with self._opened() as database:
            database.execute(REQUEUE, (call.number,))

    def append(self, call: Call[Any]) -> None:
        """Add a call at the end; no-op if it waits already.

        Raises
        ------
        SpoolFull
            It does not fit.
        SpoolError
            The file cannot be written.
        """
        with self._opened() as database:
            database.execute(REFUSED_BEFORE, (call.path, call.key))
            pages, free, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
            if (pages - free) * size + len(call.body or b"") > self.max_bytes:
                raise SpoolFull(
                    f"spool {self.path}: the limit of {self.max_bytes:,} bytes is reached, so this call was not recorded: send it again "
                    "once the server can be reached, forget refused calls, or raise max_bytes"
                )
            database.execute(APPEND, (call.path, call.key, call.body))

    def first(self) -> SpooledCall | None:
        """The oldest call that waits."""
        with self._opened(READ) as database:
            row = database.execute(FIRST).fetchone()
        return None if row is None else SpooledCall(*row)

    def set_aside(self, call: SpooledCall, error: APIError, body: bytes | None = None) -> None:
        """Keep a call as refused, or the part of it in ``body``, which gets a key of its own."""
        body, key = (call.body, call.key) if body is None else (body, new_key(None))
        with self._opened() as database:
            database.execute(SET_ASIDE, (error.status, str(error), body, key, call.number))

    @contextmanager
    def draining(self) -> Iterator[bool]:
        """Hold the right to send what waits; yields False if another thread or process has it. The system frees it if the process dies."""
        import fcntl  # not on Windows

        file = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # a process forked meanwhile has a copy of the descriptor
        finally:
            os.close(file)

    @contextmanager
    def _opened(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """A connection in a transaction, which is committed at the end."""
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = EXTRA")  # the removal of the journal is the commit
                database.execute(begin)
                with database:
                    yield database
        except sqlite3.Error as error:
            raise SpoolError(f"spool {self.path}: {error}") from error
