"""Routes for reranking by the reward model."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from access.caller import needs
from serving import reranking, responses
from serving.requests import RERANK, Document, FieldRefused, documented, read
from serving.reranking import Reranker


class RerankerState(BaseModel):
    """Which kind of reward model ranks, and how many replies are drawn for each answer; ``reason`` says why none ranks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    status: Literal["off", "loading", "ready"]
    kind: str | None
    reason: str | None
    best_of: int


class RankedDocument(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    relevance_score: float
    document: Document | None = None


class Reranked(BaseModel):
    """The documents by relevance, the best first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    model: str
    results: list[RankedDocument]


def rerank_routes(ranking: Reranker, best_of: int = 1) -> APIRouter:
    """Build the router."""
    router = APIRouter(dependencies=[needs("chat")])

    @router.get("/v1/rerank", responses=responses.answered(RerankerState))
    async def reranker() -> Response:
        """Which kind of reward model ranks and how many replies are drawn for each answer, or why none ranks."""
        return responses.json({**ranking.state(), "best_of": best_of})

    @router.post("/v1/rerank", openapi_extra=documented(RERANK), responses=responses.answered(Reranked))
    async def rerank(request: Request) -> Response:
        """Rank documents as replies to a query by the reward model, the best first, in the shape of Cohere's and Jina's endpoints."""
        asked = read(RERANK, await request.body())
        if asked.model != reranking.MODEL:
            raise FieldRefused(
                f"model: {asked.model!r} does not exist; the reward model is {reranking.MODEL!r}", "model", "model_not_found"
            )
        ranked = await run_in_threadpool(ranking.rank, asked.query, asked.texts, asked.top_n)
        return responses.json(reranking.body_of(ranked, asked.texts, bool(asked.return_documents)))

    return router
