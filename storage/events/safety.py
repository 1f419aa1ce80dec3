"""Safety event: a filter objected to a text, or personal data was redacted."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from storage.events.event import Event
from storage.events.fields import Identifier


class InterventionMade(Event):
    """A safety filter objected to what a candidate sent or to a reply, or personal data was redacted before a text was logged.

    The event holds no text, since the text may be what must not be logged. ``about`` is the ``event_id`` of the reply, pair, judgment or
    rating concerned; None if there is none, as for a message that got no reply. ``conversation_id`` is None for judgments, which name a
    pair only. ``times`` counts the messages, sentences or identifiers in which ``finding`` occurred.
    """

    kind: Literal["InterventionMade"] = "InterventionMade"
    conversation_id: Identifier | None = None
    about: UUID | None = None
    stage: Literal["question", "reply", "log"]  # before the model, after it, before anything is logged
    filter: Identifier  # conduct, insults, injection, moderation, personal_data, or a value added by a later version
    action: Identifier  # flag, replace, block, redact
    finding: Identifier  # for example question.age, promise, injection.override, phone
    times: Annotated[int, Field(ge=1, le=1_000_000)] = 1
