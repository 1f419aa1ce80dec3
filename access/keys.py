"""API keys, their text, and who may call, folded from the log by one pure function.

A key is ``fbl_ID_SECRET``. The secret has 256 random bits, so that a plain SHA-256 of it can be kept: there is nothing to guess.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from access.caller import Caller
from access.people.roles import Person
from access.permissions import Permission
from storage.events import AccessChanged, KeyIssued, KeyRevoked, Moment, PersonAdded, PersonRemoved, RolesChanged

SCOPES: Mapping[str, frozenset[Permission]] = {
    "chat": frozenset({"chat"}),
    "feedback": frozenset({"feedback"}),
    "read": frozenset({"read", "export"}),
    "admin": frozenset({"admin", "review", "read", "export"}),
}
_TEXT = re.compile(r"fbl_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")


class KeyText(NamedTuple):
    """The parts of a key that a caller sends."""

    key_id: str
    secret: str

    @classmethod
    def new(cls) -> "KeyText":
        return cls(secrets.token_hex(6), secrets.token_urlsafe(32))

    @classmethod
    def parsed(cls, text: str) -> "KeyText | None":
        """The parts; None if it is not the text of a key."""
        found = _TEXT.fullmatch(text)
        return None if found is None else cls(found["id"], found["secret"])

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()

    @property
    def text(self) -> str:
        return f"fbl_{self.key_id}_{self.secret}"


class ApiKey(BaseModel):
    """A key that was issued. It is valid until the moments ``expires_at`` and ``revoked_at``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str
    name: str
    secret_hash: str
    scopes: tuple[str, ...]
    recruiters: tuple[str, ...]
    issued_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None = None

    def objection(self, now: datetime) -> str | None:
        """Why it is not valid at that moment; None if it is."""
        if self.revoked_at is not None and now >= self.revoked_at:
            return f"the key {self.name} ({self.key_id}) was revoked; ask for a new one"
        if self.expires_at is not None and now >= self.expires_at:
            return f"the key {self.name} ({self.key_id}) expired at {self.expires_at:%Y-%m-%d %H:%M} UTC; ask for a new one"
        return None

    @cached_property
    def caller(self) -> Caller:
        """Who calls with it. Scopes that this program does not know permit nothing."""
        permitted = frozenset[Permission]().union(*(SCOPES.get(scope, frozenset()) for scope in self.scopes))
        return Caller("key", f"key:{self.name}", permitted, frozenset(self.recruiters) or None, self.key_id)


class AccessState(BaseModel):
    """Who may call, as of the change ``serial``; ``problems`` are changes on the log that were not accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: int = 0
    keys: Mapping[str, ApiKey] = {}
    people: Mapping[str, Person] = {}
    problems: tuple[str, ...] = ()

    def named(self, name: str, now: datetime) -> list[ApiKey]:
        """The valid keys with this name, or this id."""
        return [key for key in self.keys.values() if name in (key.name, key.key_id) and key.objection(now) is None]

    def lets_in_somebody(self, now: datetime) -> bool:
        """Whether there is a valid key, or a person."""
        return any(key.objection(now) is None for key in self.keys.values()) or not all(each.removed for each in self.people.values())

    def person(self, person: str) -> Person | None:
        """The person with this id; None if nobody has it any more."""
        found = self.people.get(person)
        return None if found is None or found.removed else found

    def identified(self, identity: str) -> Person | None:
        """Who this is for the identity provider; one who was removed only if nobody else is."""
        found = [each for each in self.people.values() if each.identity == identity]
        return max(found, key=lambda each: not each.removed, default=None)

    def is_removed(self, recruiter: str) -> bool:
        """Whether the one who judged under this pseudonym was removed, and nobody else judges under it."""
        removed = [each.removed for each in self.people.values() if each.recruiter == recruiter]
        return bool(removed) and all(removed)


def after(state: AccessState, change: AccessChanged, is_genuine: Callable[[AccessChanged], bool]) -> AccessState:
    """The state after one more change on the log.

    A change that nobody trusted has signed, or whose serial number has been used, changes nothing. Where numbers are missing, changes
    were removed, which may have revoked any key or removed anybody: all keys from before the gap end, and nobody
    from before it may sign in.
    """
    where = f"{change.kind} {change.serial} ({change.event_id})"
    if not is_genuine(change):
        return _noted(state, f"{where}: not signed by a trusted key of the service; ignored")
    if change.serial <= state.serial:
        return _noted(state, f"{where}: its serial number has been used; ignored")
    if change.serial > state.serial + 1:
        missing = f"{where}: changes {state.serial + 1} to {change.serial - 1} are missing; all keys and people from before it are out"
        gone = {each: person.model_copy(update={"removed": True}) for each, person in state.people.items()}
        state = _noted(state.model_copy(update={"keys": {}, "people": gone}), missing)
    keys, people = dict(state.keys), dict(state.people)
    if isinstance(change, KeyIssued):
        keys[change.key_id] = ApiKey(
            **change.model_dump(include={"key_id", "name", "secret_hash", "scopes", "recruiters", "expires_at"}),
            issued_at=change.occurred_at,
        )
    elif isinstance(change, KeyRevoked) and change.key_id in keys:
        before = keys[change.key_id]
        ends = change.ends_at if before.revoked_at is None else min(before.revoked_at, change.ends_at)
        keys[change.key_id] = before.model_copy(update={"revoked_at": ends})
    elif isinstance(change, PersonAdded) and change.person not in people:
        people[change.person] = Person(**change.model_dump(include={"person", "recruiter", "roles", "identity"}))
    elif isinstance(change, RolesChanged) and change.person in people:
        people[change.person] = people[change.person].model_copy(update={"roles": change.roles})
    elif isinstance(change, PersonRemoved) and change.person in people:
        people[change.person] = people[change.person].model_copy(update={"removed": True})
    return state.model_copy(update={"serial": change.serial, "keys": keys, "people": people})


def _noted(state: AccessState, problem: str) -> AccessState:
    return state.model_copy(update={"problems": (*state.problems, problem)[-100:]})
