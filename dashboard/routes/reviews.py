"""Decisions of reviewers, and requests for training."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Request
from pydantic import WithJsonSchema

from access.caller import caller_of, needs
from dashboard.actions.reviews import MAY_ROLL_BACK
from dashboard.answers import Accepted, RunRequested
from dashboard.routes.parts import Body, Origin, Services, accepted
from storage.events import Text
from streams.http.fields import PlainName
from trainers.policy import methods


class ReviewBody(Body):
    decision: Literal["approve", "reject"]
    reviewer: PlainName | None = None  # of who has signed in
    reason: Text


class RollbackBody(Body):
    reviewer: PlainName | None = None
    reason: Text


class FreezeBody(Body):
    method: Annotated[str, WithJsonSchema({"type": "string", "enum": [each.name for each in methods.METHODS]})] = "dpo"
    requested_by: str | None = None


def routes(services: Services) -> APIRouter:
    router = APIRouter()

    @router.post("/versions/{version}/review", status_code=202, dependencies=[needs("review")])
    def review(
        request: Request, version: str, body: ReviewBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product"
    ) -> Accepted:
        """Approve or reject a version that awaits review; or withdraw one from its duel, by rejecting it."""
        return accepted(services.reviews.decide(caller_of(request), version, **body.model_dump(), source=x_feedbackloop_source))

    @router.post("/rollback", status_code=202, dependencies=[needs(*MAY_ROLL_BACK)])
    def roll_back(request: Request, body: RollbackBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> Accepted:
        """Withdraw the champion; the previous one serves again."""
        return accepted(services.reviews.roll_back(caller_of(request), **body.model_dump(), source=x_feedbackloop_source))

    @router.post("/freeze", status_code=202, dependencies=[needs("review")])
    def freeze(request: Request, body: FreezeBody) -> RunRequested:
        """Request a training run over everything joined so far."""
        event = services.manual_runs.ask(caller_of(request), body.method, body.requested_by)
        return RunRequested(event_id=str(event.event_id), occurred_at=event.occurred_at, run_id=str(event.run_id))

    return router
