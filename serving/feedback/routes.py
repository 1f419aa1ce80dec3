"""HTTP routes by which products log feedback, pairs of their own, and outcomes. Each is durable before it is acknowledged."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from access.caller import caller_of, needs
from serving.feedback.bulk import BULK, documented_bulk, record_all
from serving.feedback.idempotency import PARAMETER, Recorder
from serving.feedback.kind import Published
from serving.feedback.receipts import BulkReceipt, FeedbackReceipt, OutcomeReceipt, PairReceipt
from serving.feedback.table import adapter, kind_of
from serving.intake_calls import SOURCE_PARAMETER, request_fields, source_of
from serving.pairing import Pairing
from serving.requests import OUTCOME, PAIR, documented, read
from serving.responses import answered
from storage.events import Event, PairDrawn
from streams.intake import Intake

KEYED = (SOURCE_PARAMETER, PARAMETER)
REPLAYED_HEADER = {"Idempotent-Replayed": {"description": "The answer was given before.", "schema": {"type": "string", "const": "true"}}}
BULK_ANSWERS = answered(BulkReceipt, REPLAYED_HEADER) | answered(
    BulkReceipt, REPLAYED_HEADER, status=207, description="Some items were refused, as `results` says; the others are recorded."
)


def feedback_routes(intake: Intake, pairing: Pairing) -> APIRouter:
    """Build the router."""
    router = APIRouter(dependencies=[needs("feedback")])
    recorder = Recorder(intake)

    @router.post("/v1/feedback", openapi_extra=documented(adapter(), *KEYED), responses=answered(FeedbackReceipt, REPLAYED_HEADER))
    async def feedback(request: Request) -> Response:
        """Submit a recruiter's feedback on a pair or a reply, of the kind named by ``type``. Durable once acknowledged."""
        raw = await request.body()
        body = read(adapter(), raw, discriminated=True)
        caller_of(request).require_pair(getattr(body, "pair_id", None))
        source = source_of(request)
        return await recorder.answer(
            request, raw, lambda view, _: kind_of(body).publish(view, body, source), lambda done: (200, _receipt(done, pairing))
        )

    @router.post("/v1/feedback/bulk", openapi_extra=documented_bulk(*KEYED), responses=BULK_ANSWERS)
    async def bulk(request: Request) -> Response:
        """Submit up to 1,000 items of feedback in one commit. ``results`` has the receipt or the error of each, in order; 207 if any is
        refused, 503 if nothing could be recorded."""
        raw = await request.body()
        items = read(BULK, raw).items
        source = source_of(request)

        def receipt(results: list[Published | dict[str, Any]]) -> tuple[int, Any]:
            lines = [{"index": place} | _result(each, pairing) for place, each in enumerate(results)]
            refused = sum(line["status"] == "refused" for line in lines)
            return 207 if refused else 200, {"accepted": len(lines) - refused, "refused": refused, "results": lines}

        return await recorder.answer(request, raw, lambda view, key: record_all(view, items, source, key), receipt)

    @router.post("/v1/pairs", openapi_extra=documented(PAIR, *KEYED), responses=answered(PairReceipt, REPLAYED_HEADER))
    async def pairs(request: Request) -> Response:
        """Submit two of the product's own responses to one prompt for recruiters to compare. Durable once acknowledged."""
        raw = await request.body()
        asked = read(PAIR, raw)
        source = source_of(request)
        sides = [{"text": text, "version": version} for text, version in zip(asked.responses, asked.versions, strict=True)]

        def record(view: Intake, _: UUID | None) -> PairDrawn:
            with request_fields({"a": "responses.0", "b": "responses.1"}):
                return view.pair(
                    prompt=[message.plain() for message in asked.prompt],
                    a=sides[0],
                    b=sides[1],
                    conversation_id=asked.conversation_id,
                    pair_id=asked.pair_id,
                    priority=asked.priority,
                    opinions=asked.opinions,
                    source=source,
                )

        def receipt(pair: PairDrawn) -> tuple[int, Any]:
            pairing.remember(pair.pair_id, drawn=True)
            ids = {"event_id": str(pair.event_id), "pair_id": str(pair.pair_id), "conversation_id": pair.conversation_id}
            return 200, {"status": "accepted"} | ids

        return await recorder.answer(request, raw, record, receipt)

    @router.post("/v1/outcomes", openapi_extra=documented(OUTCOME, *KEYED), responses=answered(OutcomeReceipt, REPLAYED_HEADER))
    async def outcomes(request: Request) -> Response:
        """Record the groups of a candidate, a decision about the candidate, or both. Only audits read them. Durable once acknowledged."""
        raw = await request.body()
        asked = read(OUTCOME, raw)
        outcome = None if asked.outcome is None else asked.outcome.model_dump()
        source = source_of(request)
        return await recorder.answer(
            request,
            raw,
            lambda view, _: view.outcome(candidate=asked.candidate, groups=asked.groups, outcome=outcome, source=source),
            lambda done: (
                200,
                {
                    "status": "accepted",
                    "groups_event_id": _id(done[0]),
                    "outcome_event_id": _id(done[1]),
                    "outcome_id": None if done[1] is None else done[1].outcome_id,
                },
            ),
        )

    return router


def _result(done: Published | dict[str, Any], pairing: Pairing) -> dict[str, Any]:
    """One line of a bulk's answer."""
    return _receipt(done, pairing) if isinstance(done, Published) else {"status": "refused"} | done


def _receipt(done: Published, pairing: Pairing) -> dict[str, Any]:
    body: dict[str, Any] = {"status": "accepted", "event_id": str(done.event_id)}
    if done.pair_id is None:
        return body
    if done.with_pair:
        pairing.remember(done.pair_id, drawn=True)
    drawn = pairing.is_drawn(done.pair_id)
    return body | {"pair_id": str(done.pair_id), "waiting": None if drawn is None else not drawn}


def _id(event: Event | None) -> str | None:
    return None if event is None else str(event.event_id)
