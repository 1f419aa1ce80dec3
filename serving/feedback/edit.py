"""Feedback kind ``edit``: a recruiter's rewrite of a reply, stored as a pair of both judged in favour of the rewrite.

The original is sent with its prompt, or named: by ``reply_id``, by ``conversation_id`` (its last reply), or by ``pair_id`` and ``side``.
"""

from typing import Literal
from uuid import UUID

from pydantic import ConfigDict

from serving.feedback.kind import FeedbackKind, Published, Shape
from storage.errors import InputRefused
from storage.events import Identifier, Side, Source, Text
from streams.http.fields import GivenName, absent, given
from streams.intake import Intake
from trainers.data.messages import ChatMessages


class Edit(Shape):
    """Request body."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"allOf": [given(prompt="array", original="string"), absent("reply_id", "pair_id", "side")]},
                {"allOf": [given(pair_id="string", side="string"), absent("prompt", "original", "reply_id", "conversation_id")]},
                {"allOf": [given(reply_id="string"), absent("prompt", "original", "pair_id", "side")]},
                {"allOf": [given(conversation_id="string"), absent("prompt", "original", "reply_id", "pair_id", "side")]},
            ]
        }
    )

    type: Literal["edit"]
    edited: Text
    recruiter: GivenName
    prompt: ChatMessages | None = None
    original: Text | None = None
    version: GivenName = "product"
    reply_id: UUID | None = None
    conversation_id: Identifier | None = None
    pair_id: UUID | None = None
    side: Side | None = None
    reason: Text | None = None


def publish(intake: Intake, given: Edit, source: Source) -> Published:
    if given.prompt is None and given.original is None:
        named = given.model_dump(include={"edited", "recruiter", "reply_id", "conversation_id", "pair_id", "side", "reason"})
        edited, judgment = intake.rewrite(**named, source=source)
        return Published(judgment.event_id, edited.pair_id)
    for name in ("prompt", "original"):
        if getattr(given, name) is None:
            raise InputRefused(f"{name}: missing; send prompt and original together, or name the reply by its id", name)
    for name in ("reply_id", "pair_id", "side"):
        if getattr(given, name) is not None:
            raise InputRefused(f"{name}: send prompt and original, or name the reply by its id, not both", name)
    assert given.prompt is not None
    assert given.original is not None
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
