"""Pairs for recruiters, and their judgments."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from pydantic import ConfigDict, Field

from access.caller import caller_of, intake_of, needs
from dashboard.answers import Accepted, Queue, RenewedLeases
from dashboard.routes.parts import Body, Id, Origin, Services, accepted
from storage.events import Choice, Identifier, Side, Text
from streams.http.fields import NO_OTHER_KEYS, WHOLE, GivenName, given


class JudgmentBody(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                given(choice="string"),
                {"required": ["objectives"], "properties": {"objectives": {"type": "object", "minProperties": 1}}},
            ]
        }
    )

    pair_id: Id
    recruiter: GivenName | None = None  # of a caller who speaks for one only
    choice: Choice | None = None
    objectives: Annotated[dict[Identifier, Choice], NO_OTHER_KEYS] | None = None
    strength: Annotated[int, Field(ge=1, le=4), WHOLE] | None = None
    reason: Text | None = None
    shown_first: Side | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class HeldBody(Body):
    recruiter: GivenName | None = None
    pair_ids: Annotated[list[Id], Field(max_length=50)]


def routes(services: Services) -> APIRouter:
    router = APIRouter(dependencies=[needs("feedback")])

    def pseudonym(request: Request, recruiter: str | None) -> str:
        return intake_of(services.intake, request).recruiter(recruiter)

    @router.get("/queue")
    def queue(
        request: Request,
        recruiter: Annotated[GivenName | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
        x_feedbackloop_source: Annotated[Origin, Header()] = "product",
    ) -> Queue:
        """Lease pairs that this recruiter has not judged for 30 s; with the counts of open pairs for this recruiter and for others only."""
        person = pseudonym(request, recruiter)
        pairs = services.queue.take(person, limit, simulated=x_feedbackloop_source == "simulation")
        return Queue(pairs=tuple(pairs), objectives=services.objectives, **asdict(services.queue.waiting(person)))

    @router.post("/queue/renew")
    def renew(request: Request, body: HeldBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> RenewedLeases:
        """Renew a recruiter's leases for another 30 s."""
        person = pseudonym(request, body.recruiter)
        renewed = services.queue.renew(person, [str(each) for each in body.pair_ids], simulated=x_feedbackloop_source == "simulation")
        return RenewedLeases(**asdict(renewed), **asdict(services.queue.waiting(person)))

    @router.post("/queue/release", status_code=204)
    def release(request: Request, body: HeldBody) -> None:
        """Release leased pairs that a recruiter will not judge now."""
        services.queue.release(pseudonym(request, body.recruiter), [str(each) for each in body.pair_ids])

    @router.post("/judgments", status_code=202)
    def judge(request: Request, body: JudgmentBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> Accepted:
        """Accept a recruiter's judgment; it is durable once this has answered. Who wrote one of the responses may only skip."""
        caller_of(request).require_pair(body.pair_id)
        if body.choice != "skip":
            services.queue.check_author(pseudonym(request, body.recruiter), str(body.pair_id))
        event = intake_of(services.intake, request).judgment(**body.model_dump(), source=x_feedbackloop_source)
        services.queue.judged(event.recruiter, str(event.pair_id), opinion=event.choice != "skip")
        return accepted(event)

    return router
