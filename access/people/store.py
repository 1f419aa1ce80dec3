"""Who the people are, and their sessions: ``people.sqlite`` in the hub's home.

The log knows people by an id only, so that a name can be forgotten. What they may do is on the log, not here.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from access.caller import is_person
from storage.private_sqlite import PrivateSQLite

FILE = "people.sqlite"
BUSY_TIMEOUT = 5.0  # seconds
NOTED_EVERY = 60.0  # seconds
SCHEMA = """
CREATE TABLE IF NOT EXISTS account (
    person TEXT PRIMARY KEY, login TEXT NOT NULL UNIQUE, name TEXT NOT NULL, password_hash TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS session (
    hash TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    began_at REAL NOT NULL, ends_at REAL NOT NULL, seen_at REAL NOT NULL
) WITHOUT ROWID;
"""


class Account(NamedTuple):
    """``person`` is the random id by which the log knows its owner; ``password_hash`` is empty without a password."""

    person: str
    login: str
    name: str
    password_hash: str


class PeopleStore:
    """Accounts and sessions in one SQLite file that only its owner may read, made when it is first used. Thread-safe.

    A removed name is gone from it (``storage.private_sqlite``).
    """

    def __init__(self, path: Path) -> None:
        self._file = PrivateSQLite(path, SCHEMA, "remove it and add the people again", BUSY_TIMEOUT)

    def put(self, account: Account) -> None:
        """Store the account, in place of one with the same login."""
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM account WHERE login = ?", (account.login,))
            connection.execute("INSERT INTO account VALUES (?, ?, ?, ?)", account)

    def set_password(self, person: str, password_hash: str) -> None:
        """Change the password, and end the person's sessions."""
        with self._file.transaction() as connection:
            connection.execute("UPDATE account SET password_hash = ? WHERE person = ?", (password_hash, person))
            connection.execute("DELETE FROM session WHERE person = ?", (person,))

    def remove(self, person: str) -> None:
        """Remove the account and its sessions; idempotent."""
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM account WHERE person = ?", (person,))

    def with_login(self, login: str) -> Account | None:
        return next(iter(self._accounts("WHERE login = ?", login)), None)

    def of(self, person: str) -> Account | None:
        return next(iter(self._accounts("WHERE person = ?", person)), None)

    def all(self) -> list[Account]:
        """All accounts, by login."""
        return self._accounts("ORDER BY login")

    def name_of(self, person: str) -> str:
        """The person's name; for one whose account is gone the id, and for a typed name that name."""
        account = self.of(person) if is_person(person) else None
        return person if account is None else account.name

    def begin_session(self, person: str, moment: datetime, lifetime: timedelta) -> str:
        """A new session of the person; its text, of which only the hash is kept. Sessions that have ended are removed."""
        text = secrets.token_urlsafe(32)
        began = moment.timestamp()
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM session WHERE ends_at <= ?", (began,))
            row = (_hash(text), person, began, began + lifetime.total_seconds(), began)
            connection.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?)", row)
        return text

    def owner_of(self, session: str, moment: datetime, idle: timedelta) -> Account | None:
        """Whose session this is; None if it has ended, was not used for ``idle``, or never was."""
        where = "JOIN session USING (person) WHERE hash = ? AND ends_at > ? AND seen_at > ?"
        return next(iter(self._accounts(where, _hash(session), moment.timestamp(), (moment - idle).timestamp())), None)

    def used(self, session: str, moment: datetime) -> None:
        """Note that the session is used. It is written once a minute at most, since writing takes milliseconds."""
        now, hashed = moment.timestamp(), _hash(session)
        if self._file.rows("SELECT 1 FROM session WHERE hash = ? AND seen_at < ?", hashed, now - NOTED_EVERY):
            with self._file.transaction() as connection:
                connection.execute("UPDATE session SET seen_at = ? WHERE hash = ?", (now, hashed))

    def sessions(self, person: str, moment: datetime) -> list[tuple[datetime, datetime]]:
        """When each session of the person began, and when it ends; the newest first."""
        query = "SELECT began_at, ends_at FROM session WHERE person = ? AND ends_at > ? ORDER BY began_at DESC"
        rows = self._file.rows(query, person, moment.timestamp())
        return [(datetime.fromtimestamp(began, moment.tzinfo), datetime.fromtimestamp(ends, moment.tzinfo)) for began, ends in rows]

    def end_sessions(self, person: str) -> None:
        """End all sessions of the person."""
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM session WHERE person = ?", (person,))

    def end_session(self, text: str) -> None:
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM session WHERE hash = ?", (_hash(text),))

    def _accounts(self, where: str, *values: Any) -> list[Account]:
        return [Account(*row) for row in self._file.rows(f"SELECT person, login, name, password_hash FROM account {where}", *values)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
