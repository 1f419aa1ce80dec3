"""Feedback kind ``comparison``: a recruiter compares the two responses of a pair, named by its id or by the reply it was drawn for."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from serving.feedback.kind import FeedbackKind, Published, Shape
from serving.pairing import pair_of
from storage.errors import InputRefused
from storage.events import Choice, Identifier, Side, Source, Text
from streams.http.fields import NO_OTHER_KEYS, WHOLE, GivenName, given
from streams.intake import Intake


class Comparison(Shape):
    """Request body."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"oneOf": [given(pair_id="string"), given(reply_id="string")]},
                {"anyOf": [given(choice="string"), {"required": ["objectives"], "properties": {"objectives": {"minProperties": 1}}}]},
            ]
        }
    )

    type: Literal["comparison"]
    recruiter: GivenName
    pair_id: UUID | None = None
    reply_id: UUID | None = None
    choice: Choice | None = None
    objectives: Annotated[dict[Identifier, Choice], NO_OTHER_KEYS] = Field(default_factory=dict)
    strength: Annotated[int, Field(ge=1, le=4), WHOLE] | None = None
    reason: Text | None = None
    shown_first: Side | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


def publish(intake: Intake, given: Comparison, source: Source) -> Published:
    pair_id = given.pair_id if given.reply_id is None else pair_of(given.reply_id)
    if pair_id is None or (given.pair_id is not None and given.reply_id is not None):
        raise InputRefused("pair_id: name the pair by pair_id, or by the reply_id of the reply that it was drawn for", "pair_id")
    event = intake.judgment(pair_id=pair_id, **given.model_dump(exclude={"type", "pair_id", "reply_id"}), source=source)
    return Published(event.event_id, event.pair_id)


KIND = FeedbackKind("comparison", Comparison, publish)
