"""Feedback kind ``thumb``: thumbs up or down on one reply, or on a conversation's last one."""

from typing import Literal
from uuid import UUID

from serving.feedback.kind import FeedbackKind, Published, Shape
from storage.events import Identifier, Name, Source, Text
from streams.intake import Intake


class Thumb(Shape):
    """Request body."""

    type: Literal["thumb"]
    recruiter: Name
    thumb: Literal["up", "down"]
    reply_id: UUID | None = None
    conversation_id: Identifier | None = None
    reason: Text | None = None


def publish(intake: Intake, given: Thumb, source: Source, caller: str) -> Published:
    return Published(intake.rating(**given.model_dump(exclude={"type"}), source=source).event_id)


KIND = FeedbackKind("thumb", Thumb, publish)
