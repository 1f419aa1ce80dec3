"""Who may come in by the identity provider: people who were added with their subject, or who have one of its groups."""

import asyncio
import time
from collections.abc import Callable

from access.follower import AccessFollower
from access.keys import AccessState
from access.people.changes import PeopleChanges
from access.people.oidc import Attempt, Attempts, Identified, Provider
from access.people.roles import Person
from access.refusals import Refusal
from access.refused import CallerRefused, not_ready
from storage.errors import ConfigurationError, FeedbackLoopError, InputRefused
from streams.pseudonyms import pseudonym

REQUEST = "GET /oidc-callback"  # as the audit trail names it
KNOWN_WITHIN = 5.0  # seconds until a change that was just published is read back


class ByProvider:
    """Finds or adds the person whom the provider names, with the roles that their groups give them.

    Parameters
    ----------
    key : the installation's, of pseudonyms
    """

    def __init__(self, provider: Provider, changes: PeopleChanges, follower: AccessFollower, key: bytes) -> None:
        self.provider, self.attempts = provider, Attempts()
        self._changes, self._follower, self._key = changes, follower, key
        self._one_at_a_time = asyncio.Lock()

    async def person(self, attempt: Attempt, answer: dict[str, str]) -> str:
        """The id of the person who has signed in there.

        Raises
        ------
        CallerRefused
            As :meth:`Provider.person`; or nobody has let this person in, or they were removed.
        """
        found = await self.provider.person(attempt, answer)
        identity = self.provider.identity(self._key, found.subject)
        async with self._one_at_a_time:
            state = self._state()
            known = state.identified(identity)
            if known is not None and known.removed:
                raise self._refused("you were removed; ask an admin to add you again", known)
            roles = self._roles(found)
            if known is None and not roles:
                how = f"'feedbackloop people add LOGIN --subject {found.subject} --role …'"
                raise self._refused(f"nobody has added you yet; ask an admin for {how}")
            if known is not None and self.provider.settings.roles and not roles:
                raise self._refused("none of your groups has a role here any more; ask an admin", known)
            if known is None or (roles and set(roles) != set(known.roles)):
                return await self._changed(known, identity, found, roles)
            return known.person

    async def _changed(self, known: Person | None, identity: str, found: Identified, roles: list[str]) -> str:
        try:
            person = await asyncio.to_thread(self._change, known, identity, found, roles)
        except InputRefused as error:
            raise CallerRefused(403, "sign_in_refused", f"{error}; ask an admin") from error
        except (ConfigurationError, FeedbackLoopError) as error:
            raise not_ready(str(error)) from error
        await self._until(lambda state: (now := state.person(person)) is not None and set(now.roles) == set(roles))
        return person

    def _change(self, known: Person | None, identity: str, found: Identified, roles: list[str]) -> str:
        if known is not None:
            self._changes.change_roles_of(known.person, roles)
            return known.person
        claim = self.provider.settings.recruiter_claim
        names = found.values(claim)
        if len(names) != 1:
            raise InputRefused(f"the claim {claim!r}, by which your product calls a recruiter, is not one text in your account", claim)
        recruiter = pseudonym(self._key, "recruiter", names[0])
        return self._changes.add(found.subject, found.name, None, recruiter, roles, identity).person

    def _roles(self, found: Identified) -> list[str]:
        given = self.provider.settings.roles
        return sorted({given[value] for value in found.values(self.provider.settings.roles_claim) if value in given})

    def _state(self) -> AccessState:
        if (state := self._follower.state) is None:
            raise not_ready(self._follower.why_not_ready())
        return state

    async def _until(self, is_known: Callable[[AccessState], bool]) -> None:
        until = time.monotonic() + KNOWN_WITHIN
        while not is_known(self._state()):
            if time.monotonic() > until:
                raise not_ready("the log has not shown the change of access yet; try again")
            await asyncio.sleep(0.05)

    def _refused(self, message: str, known: Person | None = None) -> CallerRefused:
        caller = "" if known is None else known.caller.name
        if caller:
            self._follower.refusals.note(Refusal(caller, REQUEST, 403))
        return CallerRefused(403, "sign_in_refused", message, caller=caller)
