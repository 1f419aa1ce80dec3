"""Adds and removes people and changes their roles: the account in ``people.sqlite``, the right to sign in on the log."""

import secrets
from collections.abc import Callable, Collection

from access.change_log import ChangeLog, Writing
from access.people.passwords import hashed
from access.people.roles import ROLES, Person
from access.people.store import Account, PeopleStore
from storage.errors import InputRefused
from storage.events import PersonAdded, PersonRemoved, RolesChanged
from streams.pseudonyms import folded


class PeopleChanges:
    """Makes the changes; each raises as :meth:`access.changes.AccessChanges.issue`."""

    def __init__(self, changes: ChangeLog, store: PeopleStore) -> None:
        self._changes, self._store = changes, store

    def add(
        self, login: str, name: str, password: str | None, recruiter: str, roles: Collection[str], identity: str | None = None
    ) -> Person:
        """A new account with these roles.

        Parameters
        ----------
        login : as the person types it; case, width and spacing are ignored
        password : None for who signs in by the identity provider only
        recruiter : the pseudonym under which the person judges
        identity : who they are for the identity provider

        Raises
        ------
        InputRefused
            There is no such role, the password is refused, or somebody has the login, the pseudonym or the identity already.
        """
        login, roles = login_of(login), _known(roles)
        account = Account(f"p-{secrets.token_hex(8)}", login, name, "" if password is None else hashed(password, (login, name)))
        with self._changes.writing() as writing:
            known = None if identity is None else writing.state.identified(identity)
            if known is not None and not known.removed:
                raise InputRefused("subject: somebody signs in with it already; 'feedbackloop people list' shows who", "subject")
            if (other := self._store.with_login(login)) is not None and writing.state.person(other.person) is not None:
                raise InputRefused(f"login: {login!r} belongs to somebody already; choose another one", "login")
            if any(each.recruiter == recruiter and not each.removed for each in writing.state.people.values()):
                raise InputRefused("recruiter: somebody judges under this name already; a person needs one account only", "recruiter")
            self._store.put(account)  # first: a row without its change lets nobody in, and is replaced by the next attempt
            writing.publish(writing.made(PersonAdded, person=account.person, recruiter=recruiter, roles=roles, identity=identity))
        return Person(person=account.person, recruiter=recruiter, roles=roles, identity=identity)

    def change_roles(self, login: str, roles: Collection[str]) -> None:
        """Give the person these roles instead of those before; within a second they hold in every process."""
        self._change_roles(lambda writing: self._person(writing, login), roles)

    def change_roles_of(self, person: str, roles: Collection[str]) -> None:
        """The same by the person's id."""
        self._change_roles(lambda writing: person, roles)

    def change_password(self, login: str, password: str) -> None:
        """Give the person this password, and end their sessions. Who is known by the identity provider gets one as well."""
        account = self._account(login)
        self._store.set_password(account.person, hashed(password, (account.login, account.name)))

    def remove(self, login: str) -> None:
        """Remove the person: sessions and widget tokens end within a second, and login and name are forgotten."""
        with self._changes.writing() as writing:
            account = self._account(login)
            if writing.state.person(account.person) is not None:
                writing.publish(writing.made(PersonRemoved, person=account.person))
            self._store.remove(account.person)  # last: done again, if it is killed before

    def _change_roles(self, person_of: Callable[[Writing], str], roles: Collection[str]) -> None:
        roles = _known(roles)
        with self._changes.writing() as writing:
            writing.publish(writing.made(RolesChanged, person=person_of(writing), roles=roles))

    def _person(self, writing: Writing, login: str) -> str:
        account = self._account(login)
        if writing.state.person(account.person) is None:
            raise InputRefused(f"login: {login!r} was not added to the end; add the person again", "login")
        return account.person

    def _account(self, login: str) -> Account:
        account = self._store.with_login(login_of(login))
        if account is None:
            raise InputRefused(f"login: there is no {login!r}; 'feedbackloop people list' shows them", "login")
        return account


def login_of(typed: str) -> str:
    """The login that somebody typed, so that no two look alike; raises :class:`InputRefused` if it cannot be one."""
    try:
        return folded(typed)
    except InputRefused as error:
        raise InputRefused(str(error).replace("recruiter", "login", 1), "login") from error


def _known(roles: Collection[str]) -> tuple[str, ...]:
    if not roles or (unknown := sorted(set(roles) - ROLES.keys())):
        raise InputRefused(f"role: {', '.join(unknown) if roles else 'missing'}; choose from {', '.join(ROLES)}", "role")
    return tuple(role for role in ROLES if role in roles)
