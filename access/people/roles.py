"""Roles, what they permit, and a person as folded from the log."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from access.caller import Caller
from access.permissions import Permission

ROLES: Mapping[str, frozenset[Permission]] = {
    "recruiter": frozenset({"feedback", "me"}),
    "reviewer": frozenset({"review", "read", "feedback", "me"}),
    "auditor": frozenset({"read", "export", "me"}),
    "admin": frozenset({"admin", "read", "export", "me"}),
}


class Person(BaseModel):
    """A person who was added. Those who were removed stay known, so that nobody judges as them any more.

    ``identity`` is who they are for the identity provider; None for one with a password only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    person: str
    recruiter: str
    roles: tuple[str, ...]
    identity: str | None = None
    removed: bool = False

    @property
    def caller(self) -> Caller:
        """Who calls in a session of theirs. Roles that this program does not know permit nothing."""
        permitted = frozenset[Permission]().union(*(ROLES.get(role, frozenset()) for role in self.roles))
        return Caller("session", f"person:{self.person}", permitted, frozenset({self.recruiter}), person=self.person)
