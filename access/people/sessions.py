"""Who calls with a session: the cookie says which, ``people.sqlite`` whose it is, and the log whether that person may still call."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from access.caller import Caller
from access.follower import AccessFollower
from access.people.store import PeopleStore
from access.refused import CallerRefused, not_ready
from storage.errors import Overloaded
from storage.events import now


class Sessions:
    """Finds the caller of a session. Each request looks again, so that a session that was ended lets nobody in any more."""

    def __init__(
        self, store: PeopleStore, follower: AccessFollower, clock: Callable[[], datetime] = now, idle: timedelta = timedelta(hours=2)
    ) -> None:
        self.store, self.follower, self.clock, self._idle = store, follower, clock, idle

    def caller(self, text: str, *, uses: bool) -> Caller:
        """Who calls with the session of this text, and ``uses`` it now, unlike what only stays open.

        Raises :class:`CallerRefused` if it has ended, was not used for too long, or never was.
        """
        if (state := self.follower.state) is None:
            raise not_ready(self.follower.why_not_ready())
        try:
            account = self.store.owner_of(text, self.clock(), self._idle)
            if account is not None and uses:
                self.store.used(text, self.clock())
        except Overloaded as error:
            raise not_ready(str(error)) from error
        person = None if account is None else state.person(account.person)
        if account is None or person is None:
            raise CallerRefused(401, "session_ended", "the session has ended; sign in again")
        return replace(person.caller, display_name=account.name)
