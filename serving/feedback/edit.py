"""Feedback kind ``edit``: a recruiter's rewrite of a reply, stored as a pair of both judged in favour of the rewrite."""

from typing import Literal

from serving.feedback.kind import FeedbackKind, Published, Shape
from storage.events import Identifier, Name, Source, Text
from streams.intake import Intake
from trainers.data.messages import ChatMessages


class Edit(Shape):
    """Request body."""

    type: Literal["edit"]
    prompt: ChatMessages
    original: Text
    edited: Text
    recruiter: Name
    version: Name = "product"
    conversation_id: Identifier | None = None
    reason: Text | None = None


def publish(intake: Intake, given: Edit, source: Source, caller: str) -> Published:
    pair, judgment = intake.edit(
        prompt=[message.plain() for message in given.prompt],
        original={"text": given.original, "version": given.version},
        edited=given.edited,
        recruiter=given.recruiter,
        reason=given.reason,
        conversation_id=given.conversation_id,
        source=source,
    )
    return Published(judgment.event_id, pair.pair_id, with_pair=True)


KIND = FeedbackKind("edit", Edit, publish)
