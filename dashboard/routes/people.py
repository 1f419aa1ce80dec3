"""The audit trail, and what is held of who has signed in."""

from fastapi import APIRouter, Request

from access.caller import caller_of, needs
from dashboard.actions.reviews import NotFound
from dashboard.answers import AuditTrail
from dashboard.routes.parts import Services
from dashboard.status.people import PersonData


def routes(services: Services) -> APIRouter:
    router = APIRouter()

    @router.get("/audit-trail", dependencies=[needs("export")])
    def audit_trail() -> AuditTrail:
        """Sign-ins, refusals, decisions, changes of access, and what was ended by retention, the newest first."""
        return AuditTrail(entries=tuple(services.people.trail()))

    @router.get("/me", dependencies=[needs("me")])
    def me(request: Request) -> PersonData:
        """What the service holds of who has signed in."""
        person = caller_of(request).person
        found = None if person is None else services.people.of(person)
        if found is None:
            raise NotFound("nobody has signed in; this is for people with an account")
        return found

    return router
