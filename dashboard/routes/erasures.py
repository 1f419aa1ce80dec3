"""The erasure of a person."""

from fastapi import APIRouter, Request

from access.caller import caller_of, needs
from dashboard.answers import Erasure
from dashboard.routes.parts import Body, Services
from storage.events import Erasable
from streams.http.fields import GivenName


class ErasureBody(Body):
    what: Erasable
    name: GivenName


def routes(services: Services) -> APIRouter:
    router = APIRouter()

    @router.post("/erasures", dependencies=[needs("admin")])
    def erase(request: Request, body: ErasureBody) -> Erasure:
        """Erase a candidate, a recruiter (by the names that the product uses) or a conversation.

        Waits until rows and keys are gone, for at most 20 seconds; ask again until ``done``. It cannot be undone.
        """
        return services.erasures.erase(caller_of(request), body.what, body.name)

    return router
