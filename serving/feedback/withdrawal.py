"""Feedback kind ``withdrawal``: what a recruiter has said of a pair or of a reply teaches nothing any more."""

from typing import Literal
from uuid import UUID

from pydantic import ConfigDict

from serving.feedback.kind import FeedbackKind, Published, Shape
from storage.events import Identifier, JudgmentGiven, Source, Text
from streams.http.fields import GivenName, given
from streams.intake import Intake


class Withdrawal(Shape):
    """Request body. A rewrite is withdrawn by the ``pair_id`` of its receipt."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [given(pair_id="string"), {"anyOf": [given(reply_id="string"), given(conversation_id="string")]}]}
    )

    type: Literal["withdrawal"]
    recruiter: GivenName
    pair_id: UUID | None = None
    reply_id: UUID | None = None
    conversation_id: Identifier | None = None
    reason: Text | None = None


def publish(intake: Intake, given: Withdrawal, source: Source) -> Published:
    event = intake.withdrawal(**given.model_dump(exclude={"type"}), source=source)
    return Published(event.event_id, event.pair_id if isinstance(event, JudgmentGiven) else None)


KIND = FeedbackKind("withdrawal", Withdrawal, publish)
