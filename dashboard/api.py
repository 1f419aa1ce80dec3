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
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.concurrency import run_in_threadpool

from dashboard.actions.chat import ChatDesk, ServedModel, TwoReplies
from dashboard.actions.exports import Exporter
from dashboard.actions.manual_runs import ManualRuns
from dashboard.actions.rating_queue import RatingQueue
from dashboard.actions.records import Records
from dashboard.actions.reviews import NotFound, Reviews
from dashboard.answers import Accepted, Curve, Key, Keys, NewestDuel, Queue, RenewedLeases, RunRequested, Runs, Verification
from dashboard.errors import REFUSALS
from dashboard.status.feed import ReadingFeed
from dashboard.status.models import Status, Versions
from dashboard.status.reward import RewardReading, RewardReadings
from dashboard.status.serving_version import Ranker
from storage.artifacts import Artifacts
from storage.attestation.keys import PublicKey
from storage.events import Choice, Event, Identifier, Side, Source, Text
from streams.http.documented import event_stream
from streams.http.errors import DOCUMENTED, NoSuchRoute, answer_errors
from streams.http.fields import NO_OTHER_KEYS, WHOLE, GivenName, PlainName, given
from streams.intake import Intake
from trainers.audits.outcomes.csv_files import categories_csv, tables_csv
from trainers.audits.outcomes.tables import OutcomesTable
from trainers.policy import methods
from trainers.reward.labels_saved import LabelsSaved
from trainers.runs.report import Report

Id = Annotated[UUID, Field(strict=False)]  # FastAPI hands over strings
Origin = Literal["product", "simulation"]
NDJSON, PARQUET, IN_TOTO = "application/x-ndjson", "application/vnd.apache.parquet", "application/vnd.in-toto+json"
PAGE: dict[int | str, dict[str, Any]] = {200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}}
NOTHING_LEARNT = "nothing has been learnt yet, or the processor's checkpoint has not reached this machine"


class Body(BaseModel):
    """A request body, read strictly: the string "3" is not a number. Unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


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
    recruiter: GivenName
    choice: Choice | None = None
    objectives: Annotated[dict[Identifier, Choice], NO_OTHER_KEYS] | None = None
    strength: Annotated[int, Field(ge=1, le=4), WHOLE] | None = None
    reason: Text | None = None
    shown_first: Side | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class HeldBody(Body):
    recruiter: GivenName
    pair_ids: Annotated[list[Id], Field(max_length=50)]


class ReviewBody(Body):
    decision: Literal["approve", "reject"]
    reviewer: PlainName
    reason: Text


# For HTML that a library generated: inline styles are allowed; scripts, external resources and forms are not.
GENERATED_HTML_POLICY = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class RollbackBody(Body):
    reviewer: PlainName
    reason: Text


class Turn(Body):
    role: Literal["system", "user", "assistant"]
    content: Text


class ChatBody(Body):
    model: GivenName
    messages: Annotated[list[Turn], Field(min_length=1, max_length=200)]


class FreezeBody(Body):
    method: Annotated[str, WithJsonSchema({"type": "string", "enum": [each.name for each in methods.METHODS]})] = "dpo"
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


def new_app(**options: Any) -> FastAPI:
    """An app without routes."""
    return FastAPI(
        docs_url=None,
        redoc_url=None,
        title="FeedbackLoop hub",
        description="The hub's API for the command line, products and the dashboard.",
        **options,
    )


def add_routes(app: FastAPI, services: Services) -> None:
    """Add the API and its error handlers to ``app``. Call it before mounting Dash, whose catch-all route would answer with a page."""
    router = APIRouter(prefix="/v1", responses=DOCUMENTED)
    _status_routes(router, services)
    _rating_routes(router, services)
    _chat_routes(router, services)
    _review_routes(router, services)
    _record_routes(router, services)
    _fairness_routes(router, services)

    answer_errors(app, REFUSALS)
    app.include_router(router)
    app.router.routes.append(NoSuchRoute("/v1", router.routes))


def _status_routes(router: APIRouter, services: Services) -> None:
    @router.get("/status")
    async def status() -> Status:
        """Counts at every station, the next threshold, the backlog and the champion."""
        return services.live.reading.status

    @router.get("/curve")
    async def curve() -> Curve:
        """The reward model's prequential accuracy over judgments."""
        return Curve(points=services.live.reading.curve)

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

    @router.get("/live", responses={200: {"content": event_stream(Status)}}, response_class=Response)
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
    async def runs() -> Runs:
        """The training runs, newest first."""
        return Runs(runs=services.live.reading.runs)

    @router.get("/runs/{run_id}/data-docs/{page:path}", responses=PAGE, response_class=Response)
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
    async def duel() -> NewestDuel:
        """The duel that is going on, or else the last one: the evidence, the line that wins, and the monitored groups."""
        return NewestDuel(duel=services.live.reading.duel)

    @router.get("/versions/{version}/report", responses={200: {"model": Report}})
    def report(version: str) -> Response:
        """The evaluation report as the trainer wrote it."""
        return Response(services.artifacts.read(services.reviews.find(version).evaluated.report), media_type="application/json")


def _rating_routes(router: APIRouter, services: Services) -> None:
    @router.get("/queue")
    def queue(
        recruiter: Annotated[GivenName, Query()],
        limit: Annotated[int, Query(ge=1, le=50)] = 10,
        x_feedbackloop_source: Annotated[Origin, Header()] = "product",
    ) -> Queue:
        """Lease pairs that this recruiter has not judged for 30 s; with the counts of open pairs for this recruiter and for others only."""
        pseudonym = services.intake.pseudonym("recruiter", recruiter)
        pairs = services.queue.take(pseudonym, limit, simulated=x_feedbackloop_source == "simulation")
        return Queue(pairs=tuple(pairs), **asdict(services.queue.waiting(pseudonym)))

    @router.post("/queue/renew")
    def renew(body: HeldBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> RenewedLeases:
        """Renew a recruiter's leases for another 30 s."""
        pseudonym = services.intake.pseudonym("recruiter", body.recruiter)
        renewed = services.queue.renew(pseudonym, [str(each) for each in body.pair_ids], simulated=x_feedbackloop_source == "simulation")
        return RenewedLeases(**asdict(renewed), **asdict(services.queue.waiting(pseudonym)))

    @router.post("/queue/release", status_code=204)
    def release(body: HeldBody) -> None:
        """Release leased pairs that a recruiter will not judge now."""
        services.queue.release(services.intake.pseudonym("recruiter", body.recruiter), [str(each) for each in body.pair_ids])

    @router.post("/judgments", status_code=202)
    def judge(request: Request, body: JudgmentBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> Accepted:
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
        return services.chat.ask(body.model, [turn.model_dump() for turn in body.messages])


def _review_routes(router: APIRouter, services: Services) -> None:
    @router.post("/versions/{version}/review", status_code=202)
    def review(version: str, body: ReviewBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> Accepted:
        """Approve or reject a version that awaits review; or withdraw one from its duel, by rejecting it."""
        return _accepted(services.reviews.decide(version, **body.model_dump(), source=x_feedbackloop_source))

    @router.post("/rollback", status_code=202)
    def roll_back(body: RollbackBody, x_feedbackloop_source: Annotated[Origin, Header()] = "product") -> Accepted:
        """Withdraw the champion; the previous one serves again."""
        return _accepted(services.reviews.roll_back(**body.model_dump(), source=x_feedbackloop_source))

    @router.post("/freeze", status_code=202)
    def freeze(body: FreezeBody) -> RunRequested:
        """Request a training run over everything joined so far."""
        event = services.manual_runs.ask(body.method, body.requested_by)
        return RunRequested(event_id=str(event.event_id), occurred_at=event.occurred_at, run_id=str(event.run_id))


def _record_routes(router: APIRouter, services: Services) -> None:
    @router.get("/verify")
    async def verify() -> Verification:
        """Compare log and warehouse by content, recompute derived events, hash the artifacts they name; list what is not covered."""
        return Verification(**await asyncio.to_thread(services.verify))

    @router.get("/versions/{version}/record", responses=_files(IN_TOTO), response_class=Response)
    def record(version: str) -> Response:
        """The signed record of the version's promotion: an in-toto statement in a DSSE envelope, for ``feedbackloop attest verify``."""
        return _file(services.records.record(version), IN_TOTO, f"{version}.intoto.json")

    @router.get("/versions/{version}/duel-evidence", responses=_files("application/json"), response_class=Response)
    def duel_evidence(version: str, stage: Literal["duel", "canary"] = "duel") -> Response:
        """The judgments that decided the version's duel or canary; the same judgments give the same decision again."""
        return _file(services.records.duel_evidence(version, stage), "application/json", f"{version}-{stage}.json")

    @router.get("/keys")
    def keys() -> Keys:
        """The public keys that sign this installation's promotion records, for others to trust. The key id names the PEM in the store."""
        published = services.public_keys()
        return Keys(keys=tuple(Key(keyid=key.keyid, role=key.role, type="ed25519", pem=key.pem.decode()) for key in published))

    @router.get("/export", responses=_files(NDJSON, PARQUET), response_class=Response)
    async def export(
        format: Literal["jsonl", "parquet"] = "jsonl",
        source: Annotated[list[Literal["product", "simulation", "import", "ai"]] | None, Query()] = None,
    ) -> Response:
        """The decisive judgments of both strata as preference records in TRL's columns."""
        raw = await run_in_threadpool(services.exporter.export, format, tuple(source or ()))
        kind = NDJSON if format == "jsonl" else PARQUET
        return _file(raw, kind, f"preferences.{format}")

    @router.get("/export/ratings", responses=_files(NDJSON), response_class=Response)
    async def export_ratings(source: Annotated[list[Source] | None, Query()] = None) -> Response:
        """Thumbs and scores, and both replies of pairs judged "neither", as JSON lines in TRL's columns prompt, completion and label."""
        raw = await run_in_threadpool(services.exporter.ratings, tuple(source or ()))
        return _file(raw, NDJSON, "ratings.jsonl")

    @router.get("/export/rewrites", responses=_files(NDJSON), response_class=Response)
    async def export_rewrites(source: Annotated[list[Source] | None, Query()] = None) -> Response:
        """Recruiters' rewrites that are preferred to the original, as JSON lines in TRL's column messages."""
        raw = await run_in_threadpool(services.exporter.rewrites, tuple(source or ()))
        return _file(raw, NDJSON, "rewrites.jsonl")

    @router.get("/export/comments", responses=_files(NDJSON), response_class=Response)
    async def export_comments(source: Annotated[list[Source] | None, Query()] = None) -> Response:
        """Recruiters' comments on single replies, as JSON lines. They are for people: no training reads them."""
        raw = await run_in_threadpool(services.exporter.comments, tuple(source or ()))
        return _file(raw, NDJSON, "comments.jsonl")


def _fairness_routes(router: APIRouter, services: Services) -> None:
    @router.get("/fairness/impact-ratios")
    def impact_ratios(
        since: Annotated[date, Query(alias="from")],
        until: Annotated[date, Query(alias="to")],
        source: Annotated[list[Source] | None, Query()] = None,
    ) -> OutcomesTable:
        """Selection rates, scoring rates and impact ratios of the decisions recorded from one day to another (UTC), both included."""
        return services.impact_ratios(since, until, tuple(source or ("product",)))

    @router.get("/fairness/impact-ratios.csv", responses=_files("text/csv"), response_class=Response)
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


def _files(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """The 200 response of a download in the OpenAPI document."""
    disposition = {"Content-Disposition": {"required": True, "schema": {"type": "string", "pattern": "^attachment; filename="}}}
    content = {kind: {"schema": {} if kind.endswith("json") else {"type": "string", "format": "binary"}} for kind in kinds}
    return {200: {"description": "The file.", "content": content, "headers": disposition}}


def _file(raw: bytes, kind: str, name: str) -> Response:
    return Response(raw, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _accepted(event: Event) -> Accepted:
    return Accepted(event_id=str(event.event_id), occurred_at=event.occurred_at)
