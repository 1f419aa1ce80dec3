"""Safety event: a filter objected to a text, or personal data was redacted."""

from typing import Annotated, Literal, NamedTuple
from uuid import UUID

from pydantic import Field

from storage.events.event import Event
from storage.events.fields import Identifier
from storage.events.ids import derived_id

Stage = Literal["question", "reply", "log"]  # before the model, after it, before anything is logged


class InterventionMade(Event):
    """A safety filter objected to what a candidate sent or to a reply, or personal data was redacted before a text was logged.

    The event holds no text, since the text may be what must not be logged. ``about`` is the ``event_id`` of the reply, pair, judgment or
    rating concerned; None if there is none, as for a message that got no reply. ``conversation_id`` is None for judgments, which name a
    pair only. ``times`` counts the messages, sentences or identifiers in which ``finding`` occurred.
    """

    kind: Literal["InterventionMade"] = "InterventionMade"
    conversation_id: Identifier | None = None
    about: UUID | None = None
    stage: Stage
    filter: Identifier  # conduct, insults, injection, moderation, personal_data, or a value added by a later version
    action: Identifier  # flag, replace, block, redact
    finding: Identifier  # for example question.age, promise, injection.override, phone
    times: Annotated[int, Field(ge=1, le=1_000_000)] = 1


class Intervention(NamedTuple):
    """What a filter did to one text; the fields are those of the event."""

    stage: Stage
    filter: str
    action: str
    finding: str
    times: int = 1

    def about(self, event: Event) -> InterventionMade:
        """The record that this was done to the texts of ``event``; the same one for the same event."""
        return InterventionMade(
            event_id=derived_id("InterventionMade", event.event_id, self.stage, self.filter, self.action, self.finding),
            occurred_at=event.occurred_at,
            source=event.source,
            conversation_id=getattr(event, "conversation_id", None),
            about=event.event_id,
            **self._asdict(),
        )
