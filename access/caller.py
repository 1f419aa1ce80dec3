"""Who makes a request, and what they may do. ``access.guard`` finds it out before any route runs."""

import re
from dataclasses import dataclass
from typing import Any, Literal, Self
from uuid import UUID

from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from access.permissions import EVERYTHING, Permission
from access.widget.tokens import Claims
from storage.errors import NotAllowed
from storage.events import DecisionMade, Event
from streams.intake import Intake

CALLER = "feedbackloop.caller"  # scope key
_PERSON = re.compile(r"p-[0-9a-f]{16}")


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes
    ----------
    kind : in open mode ``open``; else ``key``, ``session`` of a person, ``own``, one of the service's own processes, or ``nobody`` at
        what is public; in both modes ``widget``, a recruiter's browser in a page of a product
    name : stable for one caller over time; empty in open mode, where nobody says who they are
    recruiters : pseudonyms of the recruiters that the caller may speak for; None for all
    key_id : of the API key; None without one
    widget : what the widget token says; None without one
    person : id of who signed in; None without a session
    display_name : of who signed in, for pages
    """

    kind: Literal["open", "nobody", "key", "session", "own", "widget"]
    name: str
    permissions: frozenset[Permission]
    recruiters: frozenset[str] | None = None
    key_id: str | None = None
    widget: Claims | None = None
    person: str | None = None
    display_name: str = ""

    @classmethod
    def by_widget(cls, claims: Claims) -> Self:
        """Who calls with a widget token that says this."""
        return cls("widget", f"widget:{claims.recruiter}", frozenset({"feedback"}), frozenset({claims.recruiter}), claims.key_id, claims)

    def may(self, *permissions: Permission) -> bool:
        """Whether the caller has one of the permissions."""
        return not self.permissions.isdisjoint(permissions)

    def require(self, *permissions: Permission) -> None:
        """Raise :class:`NotAllowed` unless the caller has one of the permissions."""
        if not self.may(*permissions):
            raise NotAllowed(f"this needs the permission {' or '.join(permissions)}, which {self.name or 'the caller'} does not have")

    def signs_as(self, given: str | None, field: str) -> str | None:
        """Who decides: who signed in, or else whoever the request's ``field`` names.

        Raises :class:`NotAllowed` if who signed in gives another name, or others the id of a person.
        """
        if self.person is None:
            if given is not None and is_person(given.strip()):
                raise NotAllowed(f"{field}: this is the id of a person, who has to sign in")
            return given
        if given not in (None, self.person):
            raise NotAllowed(f"{field}: who decides is who signed in; leave the name out")
        return self.person

    def require_pair(self, pair_id: UUID | None) -> None:
        """Raise :class:`NotAllowed` if the caller may only judge another pair."""
        if self.widget is not None and self.widget.pair_id not in (None, pair_id):
            raise NotAllowed(f"pair_id: this widget token is for the pair {self.widget.pair_id} only; have one made for this pair")


def is_person(name: str) -> bool:
    """Whether this is the id of a person who signed in, rather than a name that somebody typed."""
    return _PERSON.fullmatch(name) is not None


OPEN = Caller("open", "", EVERYTHING - {"me"})
NOBODY = Caller("nobody", "", frozenset())


def caller_of(connection: HTTPConnection) -> Caller:
    """Who makes this request."""
    caller: Caller = connection.scope[CALLER]
    return caller


class Needs(HTTPBearer):
    """A route's dependency: refuses callers that have none of the permissions, and says in the OpenAPI document that a key is sent."""

    def __init__(self, *permissions: Permission) -> None:
        super().__init__(scheme_name="api_key", description="In the mode `required`, as `feedbackloop keys create` printed it.")
        self.permissions = permissions

    async def __call__(self, connection: HTTPConnection) -> None:
        caller_of(connection).require(*self.permissions)


def needs(*permissions: Permission) -> Any:
    """What a route states in its ``dependencies``: callers need one of these permissions."""
    return Depends(Needs(*permissions))


def made_by(caller: Caller, decision: Event) -> list[DecisionMade]:
    """The event that says who made a decision, to be published with it; none where nobody says who they are."""
    return [DecisionMade(source=decision.source, caller=caller.name, decision=decision.event_id)] if caller.name else []


def intake_of(intake: Intake, connection: HTTPConnection) -> Intake:
    """The intake for this request: rate limits count for its caller (or their address), who speaks for their recruiters only."""
    caller = caller_of(connection)
    return intake.for_caller(caller.name or (connection.client.host if connection.client else ""), caller.recruiters)
