"""The keys of sealed texts, by their ids, apart from the log: a backup of the log holds none of them.

A publisher adds keys before it publishes anything that is sealed under them. Destroying a key erases all texts under it at once, on the
log, in the warehouse and in every snapshot. Where the bus is SQLite the keys are in ``text-keys.sqlite`` in home; a settings module may
declare another store for another bus.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from storage.errors import ConfigurationError
from storage.places import SQLITE, shown
from storage.private_sqlite import PrivateSQLite
from storage.settings import Settings, sections
from storage.texts.sealed import TextKey

FILE = "text-keys.sqlite"
BUSY_TIMEOUT = 10.0  # seconds
SCHEMA = "CREATE TABLE IF NOT EXISTS text_key (kid TEXT PRIMARY KEY, secret BLOB NOT NULL) WITHOUT ROWID"


class TextKeys(Protocol):
    """A store of keys; safe to use from several threads and processes. While it cannot be used, methods raise ``Overloaded``.

    Attributes
    ----------
    place : where the keys are, in words
    lingers : how long a destroyed key may stay on a disk
    problem : what an operator has to mend before it can be used; None otherwise
    """

    @property
    def place(self) -> str: ...

    @property
    def lingers(self) -> timedelta: ...

    @property
    def problem(self) -> str | None: ...

    def add(self, keys: Sequence[TextKey]) -> None:
        """Store the keys durably."""

    def get(self, kid: str) -> TextKey | None:
        """The key, or None where it was destroyed, or never was."""

    def missing(self, kids: Iterable[str]) -> set[str]:
        """Those for which :meth:`get` finds no key."""

    def destroy(self, kids: Collection[str]) -> None:
        """Remove the keys for good; idempotent."""

    def close(self) -> None: ...


class SQLiteTextKeys:
    """Keys in one SQLite file that only its owner may read; destroyed ones are gone from it."""

    lingers = timedelta(0)
    problem: str | None = None

    def __init__(self, path: Path) -> None:
        self.place = path.name
        self._file = PrivateSQLite(path, SCHEMA, "restore it: sealed texts cannot be read without it", BUSY_TIMEOUT)

    def add(self, keys: Sequence[TextKey]) -> None:
        with self._file.transaction() as connection:
            connection.executemany("INSERT INTO text_key VALUES (?, ?)", keys)

    def get(self, kid: str) -> TextKey | None:
        rows = self._file.rows("SELECT secret FROM text_key WHERE kid = ?", kid)
        return TextKey(kid, rows[0][0]) if rows else None

    def missing(self, kids: Iterable[str]) -> set[str]:
        return {kid for kid in kids if self.get(kid) is None}

    def all(self) -> list[TextKey]:
        return [TextKey(*row) for row in self._file.rows("SELECT kid, secret FROM text_key")]

    def destroy(self, kids: Collection[str]) -> None:
        with self._file.transaction() as connection:
            connection.executemany("DELETE FROM text_key WHERE kid = ?", [(kid,) for kid in kids])

    def close(self) -> None:
        self._file.close()


Opener = Callable[[Settings], TextKeys]
_OPENERS: dict[str, Opener] = {SQLITE: lambda settings: SQLiteTextKeys(settings.common.home / FILE)}


def opens_text_keys(scheme: str) -> Callable[[Opener], Opener]:
    """Decorator that declares how the keys are opened where the bus's URL begins with ``scheme``; use it in a settings module."""

    def declare(opener: Opener) -> Opener:
        _OPENERS[scheme] = opener
        return opener

    return declare


def text_keys(settings: Settings) -> TextKeys:
    """The keys of this installation, in the store that goes with its bus; close it after use."""
    sections()  # imports every settings module
    url = settings.common.bus_url
    for scheme, opener in _OPENERS.items():
        if url.startswith(scheme):
            return opener(settings)
    raise ConfigurationError(f"bus = {shown(url)!r}: no store of text keys goes with it; use {' or '.join(_OPENERS)}…")
