"""What the routes share: the services that they use, the base of bodies, and common answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from access.control import AccessControl
from dashboard.actions.chat import ChatDesk
from dashboard.actions.erasures import Erasures
from dashboard.actions.exports import Exporter
from dashboard.actions.manual_runs import ManualRuns
from dashboard.actions.rating_queue import RatingQueue
from dashboard.actions.records import Records
from dashboard.actions.reviews import Reviews
from dashboard.answers import Accepted
from dashboard.status.feed import ReadingFeed
from dashboard.status.integrity import Integrity
from dashboard.status.people import PeopleReadings
from dashboard.status.reward import RewardReadings
from dashboard.status.run_texts import RunTexts
from dashboard.status.serving_version import Ranker
from storage.artifacts import Artifacts
from storage.attestation.keys import PublicKey
from storage.events import Event, Source
from streams.intake import Intake
from trainers.audits.outcomes.tables import OutcomesTable

Id = Annotated[UUID, Field(strict=False)]  # FastAPI hands over strings
Origin = Literal["product", "simulation"]


class Body(BaseModel):
    """A request body, read strictly: the string "3" is not a number. Unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True)
class Services:
    """What the routes use."""

    live: ReadingFeed
    queue: RatingQueue
    objectives: tuple[str, ...]  # that the reward model learns
    intake: Intake
    access: AccessControl
    reviews: Reviews
    run_texts: RunTexts
    records: Records
    artifacts: Artifacts
    public_keys: Callable[[], list[PublicKey]]
    exporter: Exporter
    verify: Callable[[bool], dict[str, Any]]
    manual_runs: ManualRuns
    impact_ratios: Callable[[date, date, Sequence[Source]], OutcomesTable]
    reward: RewardReadings
    ranker: Callable[[], Ranker | None]
    chat: ChatDesk
    people: PeopleReadings
    integrity: Callable[[], Integrity]
    erasures: Erasures


def files(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """The 200 response of a download in the OpenAPI document."""
    disposition = {"Content-Disposition": {"required": True, "schema": {"type": "string", "pattern": "^attachment; filename="}}}
    content = {kind: {"schema": {} if kind.endswith("json") else {"type": "string", "format": "binary"}} for kind in kinds}
    return {200: {"description": "The file.", "content": content, "headers": disposition}}


def file(raw: bytes, kind: str, name: str) -> Response:
    return Response(raw, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def accepted(event: Event) -> Accepted:
    return Accepted(event_id=str(event.event_id), occurred_at=event.occurred_at)
