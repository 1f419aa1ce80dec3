"""Feedback kind ``comment``: free text about one reply. It is stored and teaches nothing."""

from typing import Literal
from uuid import UUID

from serving.feedback.kind import FeedbackKind, Published, Shape
from storage.events import Identifier, Name, Source, Text
from streams.intake import Intake


class Comment(Shape):
    """Request body."""

    type: Literal["comment"]
    recruiter: Name
    comment: Text
    reply_id: UUID | None = None
    conversation_id: Identifier | None = None


def publish(intake: Intake, given: Comment, source: Source, caller: str) -> Published:
    return Published(intake.rating(**given.model_dump(exclude={"type"}), source=source).event_id)


KIND = FeedbackKind("comment", Comment, publish)
