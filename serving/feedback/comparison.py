"""Feedback kind ``comparison``: a recruiter compares the two responses of a pair."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from serving.feedback.kind import FeedbackKind, Published, Shape
from storage.events import Choice, Identifier, Name, Side, Source, Text
from streams.intake import Intake


class Comparison(Shape):
    """Request body."""

    type: Literal["comparison"]
    pair_id: UUID
    recruiter: Name
    choice: Choice | None = None
    objectives: dict[Identifier, Choice] = Field(default_factory=dict)
    strength: Annotated[int, Field(ge=1, le=4)] | None = None
    reason: Text | None = None
    shown_first: Side | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


def publish(intake: Intake, given: Comparison, source: Source, caller: str) -> Published:
    event = intake.judgment(**given.model_dump(exclude={"type"}), source=source, caller=caller)
    return Published(event.event_id, event.pair_id)


KIND = FeedbackKind("comparison", Comparison, publish)
