"""Who calls with a session: the cookie says which, ``people.sqlite`` whose it is, and the log whether that person may still call."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from access.caller import Caller
from access.follower import AccessFollower
from access.people.store import PeopleStore
from access.refused import CallerRefused, not_ready
from storage.errors import Overloaded
from storage.events import now


class Sessions:
    """Finds the caller of a session. Each request looks again, so that a session that was ended lets nobody in any more."""

    def __init__(self, store: PeopleStore, follower: AccessFollower, clock: Callable[[], datetime] = now) -> None:
        self.store, self.follower, self.clock = store, follower, clock

    def caller(self, text: str) -> Caller:
        """Who calls with the session of this text; raises :class:`CallerRefused` if it has ended or never was."""
        if (state := self.follower.state) is None:
            raise not_ready(self.follower.why_not_ready())
        try:
            account = self.store.owner_of(text, self.clock())
        except Overloaded as error:
            raise not_ready(str(error)) from error
        person = None if account is None else state.person(account.person)
        if account is None or person is None:
            raise CallerRefused(401, "session_ended", "the session has ended; sign in again")
        return replace(person.caller, display_name=account.name)
