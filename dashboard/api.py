"""The hub's HTTP API for the command line, products and the pages' scripts. The pages' callbacks use the same service objects.

Errors are JSON of one shape, made in ``streams.http.errors``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, FastAPI, Header, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from dashboard.actions.chat import ChatDesk, ServedModel, TwoReplies
from dashboard.actions.exports import Exporter
from dashboard.actions.manual_runs import ManualRuns
from dashboard.actions.rating_queue import RatingQueue
from dashboard.actions.records import Records
from dashboard.actions.reviews import NotFound, Reviews
from dashboard.errors import DOCUMENTED, REFUSALS
from dashboard.status.feed import ReadingFeed
from dashboard.status.models import DuelShown, Run, Status, Versions
from dashboard.status.reward import RewardReading, RewardReadings
from dashboard.status.serving_version import Ranker
from storage.artifacts import Artifacts
from storage.attestation.keys import PublicKey
from storage.events import Choice, Event, Side, Source
from streams.http.errors import answer_errors
from streams.intake import Intake
from trainers.audits.outcomes.csv_files import categories_csv, tables_csv
from trainers.audits.outcomes.tables import OutcomesTable
from trainers.reward.labels_saved import LabelsSaved

Origin = Literal["product", "simulation"]
NOTHING_LEARNT = "nothing has been learnt yet, or the processor's checkpoint has not reached this machine"


class Body(BaseModel):
    """A request body; unknown fields are refused."""

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


# For HTML that a library generated: inline styles are allowed; scripts, external resources and forms are not.
GENERATED_HTML_POLICY = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class RollbackBody(Body):
    reviewer: str
    reason: str


class ChatBody(Body):
    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[dict[str, str]], Field(min_length=1, max_length=200)]


class FreezeBody(Body):
    method: str = "dpo"
    requested_by: str | None = None


@dataclass(frozen=True)
class Services:
    """What the routes use."""

    live: ReadingFeed
    queue: RatingQueue
    intake: Intake
    reviews: Reviews
    records: Records
    artifacts: Artifacts
    public_keys: Callable[[], list[PublicKey]]
    exporter: Exporter
    verify: Callable[[], dict[str, Any]]
    manual_runs: ManualRuns
    impact_ratios: Callable[[date, date, Sequence[Source]], OutcomesTable]
    reward: RewardReadings
    ranker: Callable[[], Ranker | None]
    chat: ChatDesk


def add_routes(app: FastAPI, services: Services) -> None:
    """Add the API and its error handlers to ``app``. Call it before mounting Dash, whose catch-all route would answer with a page."""
    router = APIRouter(prefix="/v1", responses=DOCUMENTED)
    _status_routes(router, services)
    _rating_routes(router, services)
    _chat_routes(router, services)
    _review_routes(router, services)
    _record_routes(router, services)
    _fairness_routes(router, services)

    @router.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def unknown_route(rest: str) -> None:
        raise NotFound(f"there is no route /v1/{rest}; /openapi.json lists the routes")

    answer_errors(app, REFUSALS)
    app.include_router(router)


def _status_routes(router: APIRouter, services: Services) -> None:
    @router.get("/status")
    async def status() -> Status:
        """Counts at every station, the next threshold, the backlog and the champion."""
        return services.live.reading.status

    @router.get("/curve")
    async def curve() -> dict[str, Any]:
        """The reward model's prequential accuracy over judgments."""
        return {"points": [point.model_dump(mode="json") for point in services.live.reading.curve]}

    @router.get("/reward")
    def reward() -> RewardReading:
        """What the reward model knows: calibration, recruiters, agreement and objectives."""
        if (reading := services.reward.take()) is None:
            raise NotFound(NOTHING_LEARNT)
        return reading

    @router.get("/reward/labels")
    def labels() -> LabelsSaved:
        """How many judgments it saves to ask for informative pairs first. Takes seconds; the answer is at most ten minutes old."""
        if (saved := services.reward.labels_saved()) is None:
            raise NotFound(NOTHING_LEARNT)
        return saved

    @router.get("/live")
    async def live(request: Request) -> StreamingResponse:
        """The status as server-sent events: once at the start, then after each commit."""

        async def stream() -> AsyncIterator[bytes]:
            async for reading in services.live.watch():
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
        return {"runs": list(services.live.reading.runs)}

    @router.get("/runs/{run_id}/data-docs/{page:path}")
    def data_docs(run_id: str, page: str) -> Response:
        """Great Expectations' data docs of the run: which checks its data went through, and their results. Scripts in them are blocked."""
        run = next((run for run in services.live.reading.runs if run.run_id == run_id), None)
        if run is None or "data_docs" not in run.artifacts:
            raise NotFound(f"run {run_id[:80]!r} has no data docs yet: they are written when its data has been checked")
        folder = services.artifacts.get(run.artifacts["data_docs"])
        pages = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.html")}
        if page not in pages:
            raise NotFound(f"the data docs have no page {page[:80]!r}; start at index.html")
        return HTMLResponse(pages[page].read_bytes(), headers={"Content-Security-Policy": GENERATED_HTML_POLICY})

    @router.get("/versions")
    async def versions() -> Versions:
        """The challengers with their gates, and the history of champions."""
        return services.live.reading.versions

    @router.get("/duel")
    async def duel() -> dict[str, DuelShown | None]:
        """The duel that is going on, or else the last one: the evidence, the line that wins, and the monitored groups."""
        return {"duel": services.live.reading.duel}

    @router.get("/versions/{version}/report")
    def report(version: str) -> Response:
        """The evaluation report as the trainer wrote it."""
        return Response(services.artifacts.read(services.reviews.find(version).evaluated.report), media_type="application/json")


def _rating_routes(router: APIRouter, services: Services) -> None:
    @router.get("/queue")
    def queue(
        recruiter: Annotated[str, Query(min_length=1, max_length=200)],
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
        x_feedbackloop_source: Annotated[Origin, Header()] = "product",
    ) -> dict[str, Any]:
        """Lease pairs that this recruiter has not judged for 30 s; with the counts of open pairs for this recruiter and for others only."""
        pseudonym = services.intake.pseudonym("recruiter", recruiter)
        pairs = services.queue.take(pseudonym, limit, simulated=x_feedbackloop_source == "simulation")
        return {"pairs": [asdict(pair) for pair in pairs]} | asdict(services.queue.waiting(pseudonym))

    @router.post("/queue/renew")
    def renew(body: HeldBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> dict[str, Any]:
        """Renew a recruiter's leases for another 30 s."""
        pseudonym = services.intake.pseudonym("recruiter", body.recruiter)
        renewed = services.queue.renew(pseudonym, [str(each) for each in body.pair_ids], simulated=x_feedbackloop_source == "simulation")
        return asdict(renewed) | asdict(services.queue.waiting(pseudonym))

    @router.post("/queue/release", status_code=204)
    def release(body: HeldBody) -> None:
        """Release leased pairs that a recruiter will not judge now."""
        services.queue.release(services.intake.pseudonym("recruiter", body.recruiter), [str(each) for each in body.pair_ids])

    @router.post("/judgments", status_code=202)
    def judge(request: Request, body: JudgmentBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> dict[str, Any]:
        """Accept a recruiter's judgment; it is durable once this has answered."""
        caller = request.client.host if request.client else ""
        event = services.intake.judgment(**body.model_dump(), source=x_feedbackloop_source, caller=caller)
        services.queue.judged(event.recruiter, str(event.pair_id), opinion=event.choice != "skip")
        return _accepted(event)


def _chat_routes(router: APIRouter, services: Services) -> None:
    @router.get("/chat/models")
    def chat_models() -> dict[str, list[ServedModel]]:
        """The versions that answer candidates now, and what they are."""
        return {"models": services.chat.models()}

    @router.post("/chat")
    def chat(body: ChatBody) -> TwoReplies:
        """Two replies of a served version; they are logged, and judged as a pair by ``/v1/judgments``."""
        return services.chat.ask(body.model, body.messages)


def _review_routes(router: APIRouter, services: Services) -> None:
    @router.post("/versions/{version}/review", status_code=202)
    def review(version: str, body: ReviewBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> dict[str, Any]:
        """Approve or reject a version that awaits review; or withdraw one from its duel, by rejecting it."""
        return _accepted(services.reviews.decide(version, **body.model_dump(), source=x_feedbackloop_source))

    @router.post("/rollback", status_code=202)
    def roll_back(body: RollbackBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> dict[str, Any]:
        """Withdraw the champion; the previous one serves again."""
        return _accepted(services.reviews.roll_back(**body.model_dump(), source=x_feedbackloop_source))

    @router.post("/freeze", status_code=202)
    def freeze(body: FreezeBody) -> dict[str, Any]:
        """Request a training run over everything joined so far."""
        event = services.manual_runs.ask(body.method, body.requested_by)
        return _accepted(event) | {"run_id": str(event.run_id)}


def _record_routes(router: APIRouter, services: Services) -> None:
    @router.get("/verify")
    async def verify() -> dict[str, Any]:
        """Compare log and warehouse by content, recompute derived events, hash the artifacts they name; list what is not covered."""
        return await asyncio.to_thread(services.verify)

    @router.get("/versions/{version}/record")
    def record(version: str) -> Response:
        """The signed record of the version's promotion: an in-toto statement in a DSSE envelope, for ``feedbackloop attest verify``."""
        return _file(services.records.record(version), "application/vnd.in-toto+json", f"{version}.intoto.json")

    @router.get("/versions/{version}/duel-evidence")
    def duel_evidence(version: str, stage: Literal["duel", "canary"] = "duel") -> Response:
        """The judgments that decided the version's duel or canary; the same judgments give the same decision again."""
        return _file(services.records.duel_evidence(version, stage), "application/json", f"{version}-{stage}.json")

    @router.get("/keys")
    def keys() -> dict[str, list[dict[str, str]]]:
        """The public keys that sign this installation's promotion records, for others to trust. The key id names the PEM in the store."""
        return {
            "keys": [{"keyid": key.keyid, "role": key.role, "type": "ed25519", "pem": key.pem.decode()} for key in services.public_keys()]
        }

    @router.get("/export")
    async def export(
        format: Literal["jsonl", "parquet"] = "jsonl",
        source: Annotated[list[Literal["product", "simulation", "import", "ai"]] | None, Query()] = None,
    ) -> Response:
        """The decisive judgments of both strata as preference records in TRL's columns."""
        raw = await run_in_threadpool(services.exporter.export, format, tuple(source or ()))
        kind = "application/x-ndjson" if format == "jsonl" else "application/vnd.apache.parquet"
        return _file(raw, kind, f"preferences.{format}")

    @router.get("/export/ratings")
    async def export_ratings(source: Annotated[list[Source] | None, Query()] = None) -> Response:
        """Thumbs and scores, and both replies of pairs judged "neither", as JSON lines in TRL's columns prompt, completion and label."""
        raw = await run_in_threadpool(services.exporter.ratings, tuple(source or ()))
        return _file(raw, "application/x-ndjson", "ratings.jsonl")

    @router.get("/export/rewrites")
    async def export_rewrites(source: Annotated[list[Source] | None, Query()] = None) -> Response:
        """Recruiters' rewrites that are preferred to the original, as JSON lines in TRL's column messages."""
        raw = await run_in_threadpool(services.exporter.rewrites, tuple(source or ()))
        return _file(raw, "application/x-ndjson", "rewrites.jsonl")

    @router.get("/export/comments")
    async def export_comments(source: Annotated[list[Source] | None, Query()] = None) -> Response:
        """Recruiters' comments on single replies, as JSON lines. They are for people: no training reads them."""
        raw = await run_in_threadpool(services.exporter.comments, tuple(source or ()))
        return _file(raw, "application/x-ndjson", "comments.jsonl")


def _fairness_routes(router: APIRouter, services: Services) -> None:
    @router.get("/fairness/impact-ratios")
    def impact_ratios(
        since: Annotated[date, Query(alias="from")],
        until: Annotated[date, Query(alias="to")],
        source: Annotated[list[Source] | None, Query()] = None,
    ) -> OutcomesTable:
        """Selection rates, scoring rates and impact ratios of the decisions recorded from one day to another (UTC), both included."""
        return services.impact_ratios(since, until, tuple(source or ("product",)))

    @router.get("/fairness/impact-ratios.csv")
    def impact_ratios_csv(
        since: Annotated[date, Query(alias="from")],
        until: Annotated[date, Query(alias="to")],
        source: Annotated[list[Source] | None, Query()] = None,
        rows: Literal["categories", "tables"] = "categories",
    ) -> Response:
        """The same as CSV, with a row for each category, or for each table: the files of ``feedbackloop audit ll144``."""
        found = services.impact_ratios(since, until, tuple(source or ("product",)))
        text = categories_csv(found) if rows == "categories" else tables_csv(found)
        name = "impact_ratios.csv" if rows == "categories" else "tables.csv"
        return _file(text.encode(), "text/csv; charset=utf-8", name)


def _file(raw: bytes, kind: str, name: str) -> Response:
    return Response(raw, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _accepted(event: Event) -> dict[str, Any]:
    return {"event_id": str(event.event_id), "occurred_at": event.occurred_at.isoformat()}
