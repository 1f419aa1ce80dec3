"""Evidence to take away: promotion records, keys, the comparison of log and warehouse, exports."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from access.caller import needs
from dashboard.answers import Key, Keys, Verification
from dashboard.routes.parts import Services, file, files
from storage.events import Source

NDJSON, PARQUET, IN_TOTO = "application/x-ndjson", "application/vnd.apache.parquet", "application/vnd.in-toto+json"


def routes(services: Services) -> APIRouter:
    router = APIRouter()

    @router.get("/verify", dependencies=[needs("read")])
    async def verify(deep: Annotated[bool, Query()] = False) -> Verification:
        """Compare log and warehouse by content, recompute derived events, hash the artifacts they name; list what is not covered.

        With ``deep``, check the signatures of promotion records and of changes of access too.
        """
        return Verification(**await asyncio.to_thread(services.verify, deep))

    @router.get("/versions/{version}/record", responses=files(IN_TOTO), response_class=Response, dependencies=[needs("read")])
    def record(version: str) -> Response:
        """The signed record of the version's promotion: an in-toto statement in a DSSE envelope, for ``feedbackloop attest verify``."""
        return file(services.records.record(version), IN_TOTO, f"{version}.intoto.json")

    @router.get(
        "/versions/{version}/duel-evidence", responses=files("application/json"), response_class=Response, dependencies=[needs("read")]
    )
    def duel_evidence(version: str, stage: Literal["duel", "canary"] = "duel") -> Response:
        """The judgments that decided the version's duel or canary; the same judgments give the same decision again."""
        return file(services.records.duel_evidence(version, stage), "application/json", f"{version}-{stage}.json")

    @router.get("/keys", dependencies=[needs("read")])
    def keys() -> Keys:
        """The public keys that sign this installation's promotion records, for others to trust. The key id names the PEM in the store."""
        published = services.public_keys()
        return Keys(keys=tuple(Key(keyid=key.keyid, role=key.role, type="ed25519", pem=key.pem.decode()) for key in published))

    @router.get("/export", responses=files(NDJSON, PARQUET), response_class=Response, dependencies=[needs("export")])
    async def export(
        format: Literal["jsonl", "parquet"] = "jsonl",
        source: Annotated[list[Literal["product", "simulation", "import", "ai"]] | None, Query()] = None,
    ) -> Response:
        """The decisive judgments of both strata as preference records in TRL's columns."""
        raw = await run_in_threadpool(services.exporter.export, format, tuple(source or ()))
        kind = NDJSON if format == "jsonl" else PARQUET
        return file(raw, kind, f"preferences.{format}")

    @router.get("/export/ratings", responses=files(NDJSON), response_class=Response, dependencies=[needs("export")])
    async def export_ratings(source: Annotated[list[Source] | None, Query()] = None) -> Response:
        """Thumbs and scores, and both replies of pairs judged "neither", as JSON lines in TRL's columns prompt, completion and label."""
        raw = await run_in_threadpool(services.exporter.ratings, tuple(source or ()))
        return file(raw, NDJSON, "ratings.jsonl")

    @router.get("/export/rewrites", responses=files(NDJSON), response_class=Response, dependencies=[needs("export")])
    async def export_rewrites(source: Annotated[list[Source] | None, Query()] = None) -> Response:
        """Recruiters' rewrites that are preferred to the original, as JSON lines in TRL's column messages."""
        raw = await run_in_threadpool(services.exporter.rewrites, tuple(source or ()))
        return file(raw, NDJSON, "rewrites.jsonl")

    @router.get("/export/comments", responses=files(NDJSON), response_class=Response, dependencies=[needs("export")])
    async def export_comments(source: Annotated[list[Source] | None, Query()] = None) -> Response:
        """Recruiters' comments on single replies, as JSON lines. They are for people: no training reads them."""
        raw = await run_in_threadpool(services.exporter.comments, tuple(source or ()))
        return file(raw, NDJSON, "comments.jsonl")

    return router
