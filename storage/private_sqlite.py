"""A small SQLite file that only its owner may read, and in which what is deleted is gone."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError, temporary_reason, trying_again

PRAGMAS = ("journal_mode = DELETE", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON")


class PrivateSQLite:
    """The file, made with ``schema`` when it is first used. Safe to use from several threads and processes.

    Deleted rows are overwritten, and the rollback journal is deleted with each transaction. In WAL mode a deleted row would stay in the log
    file until a checkpoint truncates it.

    Parameters
    ----------
    otherwise : what to do if the file cannot be used, as the end of a sentence
    busy_timeout : seconds to wait for another process

    Raises
    ------
    ConfigurationError
        By every method: the file cannot be used.
    Overloaded
        By every method: it cannot be used for the moment.
    """

    def __init__(self, path: Path, schema: str, otherwise: str, busy_timeout: float) -> None:
        self._path, self._schema, self._otherwise, self._busy_timeout = path, schema, otherwise, busy_timeout
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with trying_again(), self._lock:
            return self._connection().execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commits at its end, or rolls back."""
        with trying_again(), self._lock, self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            self._opened = None

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = self._connected()
        return self._opened

    def _connected(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False)
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.executescript(self._schema)
        except (sqlite3.Error, OSError) as error:
            if temporary_reason(error) is not None:
                raise
            raise ConfigurationError(f"{self._path}: {error}; make it readable, or {self._otherwise}") from error
        return connection
