"""The hub's HTTP: what the command line, products and the pages ask and tell the hub. The pages go through the same objects.

Refusals are JSON of one shape, made in ``streams.http.errors``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, FastAPI, Header, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from dashboard.actions.exports import Exporter
from dashboard.actions.manual_runs import ManualRuns
from dashboard.actions.rating_queue import RatingQueue
from dashboard.actions.reviews import NotFound, Reviews
from dashboard.errors import DOCUMENTED, REFUSALS
from dashboard.status.feed import Live
from dashboard.status.models import Run, Status, Versions
from storage.artifacts import Artifacts
from storage.events import Choice, Event, Side
from streams.http.errors import answer_errors
from streams.intake import Intake

Origin = Literal["product", "simulation"]


class Body(BaseModel):
    """What a client sends; a field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JudgmentBody(Body):
    pair_id: str
    recruiter: str
    choice: Choice | None = None
    objectives: dict[str, Choice] | None = None
    strength: int | None = None
    reason: str | None = None
    shown_first: Side | None = None
    seconds: float | None = None


class HeldBody(Body):
    recruiter: Annotated[str, Field(min_length=1, max_length=200)]
    pair_ids: Annotated[list[UUID], Field(max_length=50)]


class ReviewBody(Body):
    decision: str
    reviewer: str
    reason: str


# A document of somebody else's making: it may look as it likes, and run, load and send nothing.
DOCUMENT = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class RollbackBody(Body):
    reviewer: str
    reason: str


class FreezeBody(Body):
    method: str = "dpo"


@dataclass(frozen=True)
class Doors:
    """What the routes answer from."""

    live: Live
    queue: RatingQueue
    intake: Intake
    reviews: Reviews
    artifacts: Artifacts
    exporter: Exporter
    verify: Callable[[], dict[str, Any]]
    by_hand: ManualRuns


def add_routes(app: FastAPI, doors: Doors) -> None:
    """Hang the API and its refusals into ``app``; before Dash, whose catch-all would answer with a page."""
    router = APIRouter(prefix="/v1", responses=DOCUMENTED)
    _looking(router, doors)
    _rating(router, doors)
    _deciding(router, doors)
    _records(router, doors)

    @router.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def nothing(rest: str) -> None:
        raise NotFound(f"there is nothing at /v1/{rest}; /openapi.json lists what there is")

    answer_errors(app, REFUSALS)
    app.include_router(router)


def _looking(router: APIRouter, doors: Doors) -> None:
    @router.get("/status")
    async def status() -> Status:
        """The counts at every station, the next threshold, what waits, the champion."""
        return doors.live.reading.status

    @router.get("/curve")
    async def curve() -> dict[str, Any]:
        """The reward model's prequential accuracy over judgments."""
        return {"points": [point.model_dump(mode="json") for point in doors.live.reading.curve]}

    @router.get("/live")
    async def live(request: Request) -> StreamingResponse:
        """The status as server-sent events: at once, and after each commit."""

        async def stream() -> AsyncIterator[bytes]:
            async for reading in doors.live.watch():
                if await request.is_disconnected():
                    return
                yield (
                    b": alive\n\n"
                    if reading is None
                    else b"event: status\ndata: " + orjson.dumps(reading.status.model_dump(mode="json")) + b"\n\n"
                )

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @router.get("/runs")
    async def runs() -> dict[str, list[Run]]:
        """The training runs, newest first."""
        return {"runs": list(doors.live.reading.runs)}

    @router.get("/runs/{run_id}/data-docs/{page:path}")
    def data_docs(run_id: str, page: str) -> Response:
        """What the run's data was checked for, and with what result: pages of Great Expectations, in which nothing is executed."""
        run = next((run for run in doors.live.reading.runs if run.run_id == run_id), None)
        if run is None or "data_docs" not in run.artifacts:
            raise NotFound(f"run {run_id[:80]!r} has no data docs: they are there once its data has been checked")
        folder = doors.artifacts.get(run.artifacts["data_docs"])
        pages = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.html")}
        if page not in pages:
            raise NotFound(f"these data docs have no page {page[:80]!r}; begin at index.html")
        return HTMLResponse(pages[page].read_bytes(), headers={"Content-Security-Policy": DOCUMENT})

    @router.get("/versions")
    async def versions() -> Versions:
        """The challengers with their gates, and the history of champions."""
        return doors.live.reading.versions

    @router.get("/versions/{version}/report")
    def report(version: str) -> Response:
        """The evaluation's report as the trainer wrote it."""
        return Response(doors.artifacts.read(doors.reviews.find(version).evaluated.report), media_type="application/json")


def _rating(router: APIRouter, doors: Doors) -> None:
    @router.get("/queue")
    def queue(
        recruiter: Annotated[str, Query(min_length=1, max_length=200)],
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
        x_feedbackloop_source: Annotated[Origin, Header()] = "product",
    ) -> dict[str, Any]:
        """Pairs that this recruiter has not judged, leased for half a minute; how many wait for them, and how many for others only."""
        known_as = doors.intake.pseudonym("recruiter", recruiter)
        pairs = doors.queue.take(known_as, limit, simulated=x_feedbackloop_source == "simulation")
        return {"pairs": [asdict(pair) for pair in pairs]} | asdict(doors.queue.waiting(known_as))

    @router.post("/queue/renew")
    def renew(body: HeldBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> dict[str, Any]:
        """Lease the pairs that a recruiter still has before them for another half minute."""
        known_as = doors.intake.pseudonym("recruiter", body.recruiter)
        renewed = doors.queue.renew(known_as, [str(each) for each in body.pair_ids], simulated=x_feedbackloop_source == "simulation")
        return asdict(renewed) | asdict(doors.queue.waiting(known_as))

    @router.post("/queue/release", status_code=204)
    def release(body: HeldBody) -> None:
        """Let others have pairs that a recruiter was given and will not judge now."""
        doors.queue.release(doors.intake.pseudonym("recruiter", body.recruiter), [str(each) for each in body.pair_ids])

    @router.post("/judgments", status_code=202)
    def judge(request: Request, body: JudgmentBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> dict[str, Any]:
        """Accept a recruiter's judgment; durable when answered."""
        caller = request.client.host if request.client else ""
        event = doors.intake.judgment(**body.model_dump(), source=x_feedbackloop_source, caller=caller)
        doors.queue.judged(event.recruiter, str(event.pair_id), opinion=event.choice != "skip")
        return _accepted(event)


def _deciding(router: APIRouter, doors: Doors) -> None:
    @router.post("/versions/{version}/review", status_code=202)
    def review(version: str, body: ReviewBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> dict[str, Any]:
        """Approve or reject a version that awaits review."""
        return _accepted(doors.reviews.decide(version, **body.model_dump(), source=x_feedbackloop_source))

    @router.post("/rollback", status_code=202)
    def roll_back(body: RollbackBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> dict[str, Any]:
        """Withdraw the champion."""
        return _accepted(doors.reviews.roll_back(**body.model_dump(), source=x_feedbackloop_source))

    @router.post("/freeze", status_code=202)
    def freeze(body: FreezeBody) -> dict[str, Any]:
        """Ask for a training run over everything joined so far."""
        event = doors.by_hand.ask(body.method)
        return _accepted(event) | {"run_id": str(event.run_id)}


def _records(router: APIRouter, doors: Doors) -> None:
    @router.get("/verify")
    async def verify() -> dict[str, Any]:
        """Compare log and warehouse by content, compute what is derived again, hash what is named; and say what is not covered."""
        return await asyncio.to_thread(doors.verify)

    @router.get("/export")
    async def export(
        format: Literal["jsonl", "parquet"] = "jsonl",
        source: Annotated[list[Literal["product", "simulation", "import", "ai"]] | None, Query()] = None,
    ) -> Response:
        """The decisive judgments of both strata as preference records in TRL's columns."""
        raw = await run_in_threadpool(doors.exporter.export, format, tuple(source or ()))
        kind = "application/x-ndjson" if format == "jsonl" else "application/vnd.apache.parquet"
        return Response(raw, media_type=kind, headers={"Content-Disposition": f'attachment; filename="preferences.{format}"'})


def _accepted(event: Event) -> dict[str, Any]:
    return {"event_id": str(event.event_id), "occurred_at": event.occurred_at.isoformat()}
