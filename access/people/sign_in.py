"""Signing in, with a local account or by the identity provider, and signing out."""

import asyncio
import math
from datetime import timedelta
from typing import Literal

from access.caller import Caller
from access.people.back_off import BackOff
from access.people.by_provider import ByProvider
from access.people.changes import login_of
from access.people.passwords import PasswordCheck
from access.people.sessions import Sessions
from access.refusals import Refusal
from access.refused import CallerRefused, not_ready
from storage.errors import InputRefused
from storage.events import SignedIn, SignedOut

FREE_FOR_A_LOGIN = 3  # failures before there is a pause
FREE_FOR_AN_ADDRESS = 20  # a company's people may share one
REQUEST = "POST /sign-in"  # as the audit trail names it


class SignIn:
    """Begins and ends sessions, which last ``lifetime``; ``by_provider`` is None without an identity provider."""

    def __init__(self, sessions: Sessions, lifetime: timedelta, by_provider: ByProvider | None = None) -> None:
        self._sessions, self._lifetime = sessions, lifetime
        self.by_provider = by_provider
        self._passwords = PasswordCheck()
        self._logins, self._addresses = BackOff(FREE_FOR_A_LOGIN), BackOff(FREE_FOR_AN_ADDRESS)

    async def with_password(self, login: str, password: str, address: str, before: str) -> str:
        """The text of a new session for whose login and password this is, in place of the session ``before``.

        Raises
        ------
        CallerRefused
            Login or password is wrong, without saying which; or there were too many failures just now.
        Overloaded
            The log cannot be written: there is no sign-in that is not on it.
        """
        if (state := self._sessions.follower.state) is None:
            raise not_ready(self._sessions.follower.why_not_ready())
        try:
            login = login_of(login)
        except InputRefused:
            login = ""  # nobody's
        self._check_pause(login, address)
        self._logins.tried(login)
        self._addresses.tried(address)
        store = self._sessions.store
        account = await asyncio.to_thread(store.with_login, login)
        right = await self._passwords.agree(password, account.password_hash if account is not None else "")
        person = None if account is None else state.person(account.person)
        if account is None or person is None or not right:
            known = "" if person is None else person.caller.name
            if known:
                self._sessions.follower.refusals.note(Refusal(known, REQUEST, 401))
            raise CallerRefused(401, "sign_in_refused", "login or password is not right", caller=known)
        self._logins.succeeded(login, forget=True)
        self._addresses.succeeded(address, forget=False)  # whoever has an account must not try others without a pause
        return await self.begin(account.person, "local", before)

    async def begin(self, person: str, how: Literal["local", "oidc"], before: str) -> str:
        """The text of a new session of a person who has shown who they are; the session ``before`` ends."""
        store = self._sessions.store
        await asyncio.to_thread(self._sessions.follower.record, SignedIn(source="product", person=person, how=how))
        if before:
            await asyncio.to_thread(store.end_session, before)
        return await asyncio.to_thread(store.begin_session, person, self._sessions.clock(), self._lifetime)

    async def out(self, caller: Caller, session: str, *, everywhere: bool) -> None:
        """End the session, or all of this person; what they have open ends within a second."""
        if everywhere and caller.person is not None:
            await asyncio.to_thread(self._sessions.store.end_sessions, caller.person)
        await asyncio.to_thread(self._sessions.store.end_session, session)
        if caller.person is not None:
            await asyncio.to_thread(self._sessions.follower.record, SignedOut(source="product", person=caller.person))

    def _check_pause(self, login: str, address: str) -> None:
        pause = math.ceil(max(self._logins.wait(login), self._addresses.wait(address)))
        if pause:
            raise CallerRefused(429, "too_many_failures", f"too many failures; try again in {pause} s", retry_after=pause)
