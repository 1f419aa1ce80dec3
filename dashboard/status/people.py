"""What the pages show of people, keys and the audit trail, and of a person to that person."""

from collections.abc import Callable
from typing import Any

from access.keys import AccessState, ApiKey
from access.people.roles import Person
from access.people.store import Account, PeopleStore
from dashboard.status.models import Shown
from storage.events import Moment, now
from storage.warehouse.warehouse import Warehouse

TRAIL = 300  # entries shown


class AuditEntry(Shown):
    """An entry of the audit trail; ``who`` is a name, a key as ``key:NAME``, or a person's id once the name is forgotten."""

    occurred_at: Moment
    what: str
    who: str | None
    about: str | None


class Held(Shown):
    """How many entries of a kind the service holds of a person, and when the first and last were made."""

    what: str
    n: int
    first: Moment
    last: Moment


class PersonData(Shown):
    """What the service holds of a person. The recruiter's pseudonym stands in place of the name on log and warehouse."""

    person: str
    login: str
    name: str
    recruiter: str
    roles: tuple[str, ...]
    sessions: tuple[tuple[Moment, Moment], ...]  # from when, until when
    held: tuple[Held, ...]


class PeopleReadings:
    """Reads who may call; ``state`` is None in open mode, and until the log has been read."""

    def __init__(self, state: Callable[[], AccessState | None], store: PeopleStore, warehouse: Warehouse) -> None:
        self._state, self._store, self._warehouse = state, store, warehouse

    def people(self) -> list[tuple[Account, Person | None]]:
        """All accounts; None with those that may not sign in."""
        state = self._state()
        return [(each, None if state is None else state.person(each.person)) for each in self._store.all()]

    def keys(self) -> list[tuple[ApiKey, str | None]]:
        """All keys, the newest first, and why each is not valid."""
        state = self._state()
        found = [] if state is None else sorted(state.keys.values(), key=lambda key: key.issued_at, reverse=True)
        return [(key, key.objection(now())) for key in found]

    def trail(self) -> list[AuditEntry]:
        """The newest entries of the audit trail, newest first."""
        return [
            AuditEntry(**row | {"who": self._named(row["who"])})
            for row in self._warehouse.query("audit_trail", {"rows": TRAIL}).to_pylist()
        ]

    def of(self, person: str) -> PersonData | None:
        """What the service holds of the person; None if there is no such person any more."""
        state, account = self._state(), self._store.of(person)
        found = None if state is None else state.person(person)
        if account is None or found is None:
            return None
        asked: dict[str, Any] = {"person": person, "recruiter": found.recruiter}
        return PersonData(
            person=person,
            login=account.login,
            name=account.name,
            recruiter=found.recruiter,
            roles=found.roles,
            sessions=tuple(self._store.sessions(person, now())),
            held=tuple(Held(**row) for row in self._warehouse.query("of_a_person", asked).to_pylist()),
        )

    def _named(self, who: str | None) -> str | None:
        return None if who is None else self._store.name_of(who.removeprefix("person:"))
