"""The keys of sealed texts, by their ids: ``text-keys.sqlite`` in home, apart from the log, so that a backup of the log holds none of them.

A publisher adds keys before it publishes anything that is sealed under them. Destroying a key erases all texts under it at once, on the
log, in the warehouse and in every snapshot.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from storage.places import SQLITE
from storage.private_sqlite import PrivateSQLite
from storage.settings import Common
from storage.texts.sealed import TextKey

FILE = "text-keys.sqlite"
BUSY_TIMEOUT = 10.0  # seconds
SCHEMA = "CREATE TABLE IF NOT EXISTS text_key (kid TEXT PRIMARY KEY, secret BLOB NOT NULL) WITHOUT ROWID"


class TextKeys(Protocol):
    """A store of keys; safe to use from several threads and processes."""

    def add(self, keys: Sequence[TextKey]) -> None:
        """Store the keys durably."""

    def get(self, kid: str) -> TextKey | None:
        """The key, or None where it was destroyed, or never was."""

    def destroy(self, kids: Collection[str]) -> None:
        """Remove the keys for good; idempotent."""


class SQLiteTextKeys:
    """Keys in one SQLite file that only its owner may read; destroyed ones are gone from it."""

    def __init__(self, path: Path) -> None:
        self._file = PrivateSQLite(path, SCHEMA, "restore it: sealed texts cannot be read without it", BUSY_TIMEOUT)

    def add(self, keys: Sequence[TextKey]) -> None:
        with self._file.transaction() as connection:
            connection.executemany("INSERT INTO text_key VALUES (?, ?)", keys)

    def get(self, kid: str) -> TextKey | None:
        rows = self._file.rows("SELECT secret FROM text_key WHERE kid = ?", kid)
        return TextKey(kid, rows[0][0]) if rows else None

    def destroy(self, kids: Collection[str]) -> None:
        with self._file.transaction() as connection:
            connection.executemany("DELETE FROM text_key WHERE kid = ?", [(kid,) for kid in kids])


def text_keys(common: Common) -> TextKeys | None:
    """The keys of this installation; None on Kafka, where texts are not sealed: processes on other machines could not open them."""
    return SQLiteTextKeys(common.home / FILE) if common.bus_url.startswith(SQLITE) else None
