"""How the loop stands: counts, the reward model, runs, versions and the duel; and the same pushed as it changes."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from access.caller import needs
from dashboard.actions.reviews import NotFound
from dashboard.answers import Curve, NewestDuel, Runs
from dashboard.routes.parts import Services
from dashboard.status.integrity import Integrity
from dashboard.status.models import Status, Versions
from dashboard.status.reward import RewardReading
from streams.http.documented import event_stream
from trainers.reward.labels_saved import LabelsSaved
from trainers.runs.report import Report

PAGE: dict[int | str, dict[str, Any]] = {200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}}
NOTHING_LEARNT = "nothing has been learnt yet, or the processor's checkpoint has not reached this machine"
# For HTML that a library generated: inline styles are allowed; scripts, external resources and forms are not.
GENERATED_HTML_POLICY = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def routes(services: Services) -> APIRouter:
    router = APIRouter(dependencies=[needs("read")])

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

    @router.get("/integrity")
    def votes() -> Integrity:
        """Which of the newest judgments by people are odd. None is dropped for that."""
        return services.integrity()

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
        """The evaluation report, with its texts opened; as an artifact it holds them sealed."""
        return Response(services.run_texts.report(version).model_dump_json(), media_type="application/json")

    return router
