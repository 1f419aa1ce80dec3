"""The keys of sealed texts, by their ids: ``text-keys.sqlite`` in home, apart from the log, so that a backup of the log holds none of them.

A publisher adds keys before it publishes anything that is sealed under them. Destroying a key erases all texts under it at once, on the
log, in the warehouse and in every snapshot.
"""

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from storage.errors import ConfigurationError, temporary_reason, trying_again
from storage.places import SQLITE
from storage.settings import Common
from storage.texts.sealed import TextKey

FILE = "text-keys.sqlite"
BUSY_TIMEOUT = 10.0  # seconds


class TextKeys(Protocol):
    """A store of keys; safe to use from several threads and processes."""

    def add(self, keys: Sequence[TextKey]) -> None:
        """Store the keys durably."""

    def get(self, kid: str) -> TextKey | None:
        """The key, or None where it was destroyed, or never was."""

    def destroy(self, kids: Collection[str]) -> None:
        """Remove the keys for good; idempotent."""


class SQLiteTextKeys:
    """Keys in one SQLite file that only its owner may read, made when it is first used.

    The rollback journal is deleted with each transaction and deleted rows are overwritten. In WAL mode a destroyed key would stay in the
    log file until a checkpoint truncates it.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def add(self, keys: Sequence[TextKey]) -> None:
        with self._transaction() as connection:
            connection.executemany("INSERT INTO text_key VALUES (?, ?)", keys)

    def get(self, kid: str) -> TextKey | None:
        with trying_again(), self._lock:
            row = self._connection().execute("SELECT secret FROM text_key WHERE kid = ?", (kid,)).fetchone()
        return None if row is None else TextKey(kid, row[0])

    def destroy(self, kids: Collection[str]) -> None:
        with self._transaction() as connection:
            connection.executemany("DELETE FROM text_key WHERE kid = ?", [(kid,) for kid in kids])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with trying_again(), self._lock, self._connection() as connection:  # commits, or rolls back
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = _connected(self._path)
        return self._opened


def _connected(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = DELETE", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("CREATE TABLE IF NOT EXISTS text_key (kid TEXT PRIMARY KEY, secret BLOB NOT NULL) WITHOUT ROWID")
    except (sqlite3.Error, OSError) as error:
        if temporary_reason(error) is not None:
            raise
        raise ConfigurationError(f"{path}: {error}; make it readable, or restore it: sealed texts cannot be read without it") from error
    return connection


def text_keys(common: Common) -> TextKeys | None:
    """The keys of this installation; None on Kafka, where texts are not sealed: processes on other machines could not open them."""
    return SQLiteTextKeys(common.home / FILE) if common.bus_url.startswith(SQLITE) else None
