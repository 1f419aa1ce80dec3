"""Who makes a request, and what they may do. ``access.guard`` finds it out before any route runs."""

from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Depends
from starlette.requests import HTTPConnection

from access.permissions import EVERYTHING, Permission
from storage.errors import NotAllowed
from streams.intake import Intake

CALLER = "feedbackloop.caller"  # scope key


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes
    ----------
    name : stable for one caller over time; empty in open mode, where nobody says who they are
    recruiters : pseudonyms of the recruiters that the caller may speak for; None for all
    """

    kind: Literal["open"]
    name: str
    permissions: frozenset[Permission]
    recruiters: frozenset[str] | None = None

    def may(self, *permissions: Permission) -> bool:
        """Whether the caller has one of the permissions."""
        return not self.permissions.isdisjoint(permissions)

    def require(self, *permissions: Permission) -> None:
        """Raise :class:`NotAllowed` unless the caller has one of the permissions."""
        if not self.may(*permissions):
            raise NotAllowed(f"this needs the permission {' or '.join(permissions)}, which {self.name or 'the caller'} does not have")


OPEN = Caller("open", "", EVERYTHING)


def caller_of(connection: HTTPConnection) -> Caller:
    """Who makes this request."""
    caller: Caller = connection.scope[CALLER]
    return caller


class Needs:
    """A route's dependency: refuses callers that have none of the permissions."""

    def __init__(self, *permissions: Permission) -> None:
        self.permissions = permissions

    async def __call__(self, connection: HTTPConnection) -> None:
        caller_of(connection).require(*self.permissions)


def needs(*permissions: Permission) -> Any:
    """What a route states in its ``dependencies``: callers need one of these permissions."""
    return Depends(Needs(*permissions))


def intake_of(intake: Intake, connection: HTTPConnection) -> Intake:
    """The intake for this request: rate limits count for its caller (or their address), who speaks for their recruiters only."""
    caller = caller_of(connection)
    return intake.for_caller(caller.name or (connection.client.host if connection.client else ""), caller.recruiters)
