"""HTTP routes for products: feedback on replies, pairs of the product's own, reranking and outcomes; for chat see ``serving.openai``.

A 2xx response is sent only after its event is durable.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from serving import reranking, responses
from serving.feedback.table import adapter, kind_of
from serving.pairing import Pairing
from serving.requests import OUTCOME, PAIR, RERANK, FieldRefused, documented, read
from serving.reranking import Reranker
from serving.sources import source_of
from storage.errors import InputRefused
from streams.intake import Intake

Result = TypeVar("Result")


def routes(intake: Intake, pairing: Pairing, ranking: Reranker, best_of: int = 1) -> APIRouter:
    """Build the router."""
    router = APIRouter()

    @router.post("/v1/pairs", openapi_extra=documented(PAIR))
    async def pairs(request: Request) -> Response:
        """Submit two of the product's own responses to one prompt for recruiters to compare. Durable once acknowledged."""
        asked = read(PAIR, await request.body())
        sides = [{"text": text, "version": version} for text, version in zip(asked.responses, asked.versions, strict=True)]
        publish = partial(
            intake.pair,
            prompt=[message.plain() for message in asked.prompt],
            a=sides[0],
            b=sides[1],
            conversation_id=asked.conversation_id,
            pair_id=asked.pair_id,
            priority=asked.priority,
            opinions=asked.opinions,
            source=source_of(request),
        )
        pair = await _published(publish, {"a": "responses.0", "b": "responses.1"})
        pairing.remember(pair.pair_id, drawn=True)
        return responses.json(
            {"status": "accepted", "event_id": str(pair.event_id), "pair_id": str(pair.pair_id), "conversation_id": pair.conversation_id}
        )

    @router.post("/v1/feedback", openapi_extra=documented(adapter()))
    async def feedback(request: Request) -> Response:
        """Submit a recruiter's feedback on a pair or a reply, of the kind named by ``type``. Durable once acknowledged."""
        body = read(adapter(), await request.body(), discriminated=True)
        caller = request.client.host if request.client else ""
        done = await _published(partial(kind_of(body).publish, intake, body, source_of(request), caller), {})
        if done.pair_id is None:
            return responses.json({"status": "accepted", "event_id": str(done.event_id)})
        if done.with_pair:
            pairing.remember(done.pair_id, drawn=True)
        return _receipt(done.event_id, pairing, done.pair_id)

    @router.get("/v1/rerank")
    async def reranker() -> Response:
        """Which kind of reward model ranks and how many replies are drawn for each answer, or why none ranks."""
        return responses.json({**ranking.state(), "best_of": best_of})

    @router.post("/v1/rerank", openapi_extra=documented(RERANK))
    async def rerank(request: Request) -> Response:
        """Rank documents as replies to a query by the reward model, the best first, in the shape of Cohere's and Jina's endpoints."""
        asked = read(RERANK, await request.body())
        if asked.model != reranking.MODEL:
            raise FieldRefused(
                f"model: {asked.model!r} does not exist; the reward model is {reranking.MODEL!r}", "model", "model_not_found"
            )
        ranked = await run_in_threadpool(ranking.rank, asked.query, asked.texts, asked.top_n)
        return responses.json(reranking.body_of(ranked, asked.texts, bool(asked.return_documents)))

    @router.post("/v1/outcomes", openapi_extra=documented(OUTCOME))
    async def outcomes(request: Request) -> Response:
        """Record the groups of a candidate, a decision about the candidate, or both. Only audits read them. Durable once acknowledged."""
        asked = read(OUTCOME, await request.body())
        outcome = None if asked.outcome is None else asked.outcome.model_dump()
        publish = partial(intake.outcome, candidate=asked.candidate, groups=asked.groups, outcome=outcome, source=source_of(request))
        recorded, decided = await _published(publish, {})
        body = {
            "status": "accepted",
            "groups_event_id": None if recorded is None else str(recorded.event_id),
            "outcome_event_id": None if decided is None else str(decided.event_id),
            "outcome_id": None if decided is None else decided.outcome_id,
        }
        return responses.json(body)

    return router


def _receipt(event_id: UUID, pairing: Pairing, pair_id: UUID) -> Response:
    drawn = pairing.is_drawn(pair_id)
    waiting = None if drawn is None else not drawn
    body: dict[str, Any] = {"status": "accepted", "event_id": str(event_id), "pair_id": str(pair_id), "waiting": waiting}
    return responses.json(body)


async def _published(publish: Callable[[], Result], fields: dict[str, str]) -> Result:
    with _request_fields(fields):
        return await run_in_threadpool(publish)


class _request_fields:
    """Rename the field of an :class:`InputRefused` from the event's name to the request's."""

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, InputRefused) or error.field is None:
            return
        head, dot, tail = error.field.partition(".")
        if head in self._fields:
            new = f"{self._fields[head]}{dot}{tail}"
            message = str(error).removeprefix(error.field)
            raise InputRefused(f"{new}{message}", new) from error
