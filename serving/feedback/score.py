"""Feedback kind ``score``: a number on a scale for one reply; above the middle it counts as a thumb up, below as a thumb down."""

from typing import Literal
from uuid import UUID

from pydantic import ConfigDict

from serving.feedback.kind import FeedbackKind, Published, Shape
from storage.events import Finite, Identifier, Source, Text
from streams.http.fields import GivenName, given
from streams.intake import Intake


class Score(Shape):
    """Request body. ``scale`` is the lowest and the highest possible score, such as ``[1, 5]``."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [given(reply_id="string"), given(conversation_id="string")]})

    type: Literal["score"]
    recruiter: GivenName
    score: Finite
    scale: tuple[Finite, Finite]
    reply_id: UUID | None = None
    conversation_id: Identifier | None = None
    reason: Text | None = None


def publish(intake: Intake, given: Score, source: Source) -> Published:
    return Published(intake.rating(**given.model_dump(exclude={"type"}), source=source).event_id)


KIND = FeedbackKind("score", Score, publish)
