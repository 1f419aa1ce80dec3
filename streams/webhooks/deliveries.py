"""What is to be delivered to whom, in a SQLite file of the hub. A notice is durable there before the first attempt.

A notice is a row for each endpoint, identified by the notice's id, so it is sent again after a crash and not sent again once delivered.
"""

import sqlite3
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from streams.webhooks.notices import Notice

SCHEMA = """
CREATE TABLE IF NOT EXISTS endpoint (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS delivery (
    endpoint TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, body BLOB,
    made_at REAL NOT NULL, due_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (endpoint, id)
);
CREATE INDEX IF NOT EXISTS waiting ON delivery (endpoint, due_at) WHERE state = 'waiting';
"""


class Delivery(NamedTuple):
    """A notice that waits. Times are seconds since 1970; ``due_at`` is the time of the next attempt."""

    id: str
    kind: str
    body: bytes
    made_at: float
    due_at: float
    attempts: int


class Deliveries:
    """The file in ``path``. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._guard = threading.Lock()
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        path.chmod(0o600)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = FULL")
        self._file.executescript(SCHEMA)

    def add(self, endpoint: str, notices: Sequence[Notice], kinds: Collection[str], now: float) -> int:
        """Add the notices that are not known yet; return how many wait now because of it.

        Those of other ``kinds`` are not sent, and nor is what happened before the endpoint was first added.
        """
        with self._guard:
            first = self._file.execute("SELECT 1 FROM endpoint WHERE name = ?", (endpoint,)).fetchone() is None
            states = ["skipped" if first or notice.kind not in kinds else "waiting" for notice in notices]
            rows = [
                (endpoint, notice.id, notice.kind, state, notice.body if state == "waiting" else None, now, now)
                for notice, state in zip(notices, states, strict=True)
            ]
            before = self._waiting(endpoint)
            self._file.execute("BEGIN IMMEDIATE")
            try:
                self._file.execute("INSERT OR IGNORE INTO endpoint VALUES (?)", (endpoint,))
                self._file.executemany(
                    "INSERT OR IGNORE INTO delivery (endpoint, id, kind, state, body, made_at, due_at) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
                )
                self._file.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # on a full disk SQLite may have rolled back already
                    self._file.execute("ROLLBACK")
                raise
            return self._waiting(endpoint) - before

    def next(self, endpoint: str) -> Delivery | None:
        """The delivery that is due first; None if nothing waits."""
        with self._guard:
            row = self._file.execute(
                "SELECT id, kind, body, made_at, due_at, attempts FROM delivery WHERE endpoint = ? AND state = 'waiting'"
                " ORDER BY due_at, rowid LIMIT 1",
                (endpoint,),
            ).fetchone()
        return None if row is None else Delivery(*row)

    def postpone(self, endpoint: str, delivery: Delivery, due_at: float) -> None:
        """An attempt failed: try again at ``due_at``."""
        self._write("UPDATE delivery SET attempts = attempts + 1, due_at = ? WHERE endpoint = ? AND id = ?", due_at, endpoint, delivery.id)

    def finish(self, endpoint: str, delivery: Delivery, state: str) -> None:
        """``state``: delivered, or given up."""
        self._write(
            "UPDATE delivery SET attempts = attempts + 1, state = ?, body = NULL WHERE endpoint = ? AND id = ?",
            state,
            endpoint,
            delivery.id,
        )

    def close(self) -> None:
        with self._guard:
            self._file.close()

    def _write(self, text: str, *parameters: object) -> None:
        with self._guard:
            self._file.execute(text, parameters)

    def _waiting(self, endpoint: str) -> int:
        (count,) = self._file.execute("SELECT count(*) FROM delivery WHERE endpoint = ? AND state = 'waiting'", (endpoint,)).fetchone()
        return int(count)
