"""Feedback kind ``comment``: free text about one reply. It is stored and teaches nothing."""

from typing import Literal
from uuid import UUID

from pydantic import ConfigDict

from serving.feedback.kind import FeedbackKind, Published, Shape
from storage.events import Identifier, Source, Text
from streams.http.fields import GivenName, given
from streams.intake import Intake


class Comment(Shape):
    """Request body."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [given(reply_id="string"), given(conversation_id="string")]})

    type: Literal["comment"]
    recruiter: GivenName
    comment: Text
    reply_id: UUID | None = None
    conversation_id: Identifier | None = None


def publish(intake: Intake, given: Comment, source: Source) -> Published:
    return Published(intake.rating(**given.model_dump(exclude={"type"}), source=source).event_id)


KIND = FeedbackKind("comment", Comment, publish)
