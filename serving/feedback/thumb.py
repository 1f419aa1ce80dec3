"""Feedback kind ``thumb``: thumbs up or down on one reply, or on a conversation's last one."""

from typing import Literal
from uuid import UUID

from pydantic import ConfigDict

from serving.feedback.kind import FeedbackKind, Published, Shape
from storage.events import Identifier, Source, Text
from streams.http.fields import GivenName, given
from streams.intake import Intake


class Thumb(Shape):
    """Request body."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [given(reply_id="string"), given(conversation_id="string")]})

    type: Literal["thumb"]
    recruiter: GivenName
    thumb: Literal["up", "down"]
    reply_id: UUID | None = None
    conversation_id: Identifier | None = None
    reason: Text | None = None


def publish(intake: Intake, given: Thumb, source: Source) -> Published:
    return Published(intake.rating(**given.model_dump(exclude={"type"}), source=source).event_id)


KIND = FeedbackKind("thumb", Thumb, publish)
