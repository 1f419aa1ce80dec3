"""Privacy events: whom and what the log has forgotten."""

import re
from datetime import datetime
from typing import Literal, Self

from pydantic import model_validator

from storage.events.event import Event
from storage.events.fields import Identifier
from storage.events.ids import derived_id

Erasable = Literal["candidate", "recruiter", "conversation"]  # by request
Erased = Literal["candidate", "recruiter", "conversation", "record"]
Cause = Literal["request", "retention"]
_EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class PersonErased(Event):
    """What the log holds of a candidate, a recruiter or a conversation, or one record of a decision or of groups, is erased, and nothing
    of it is stored any more.

    ``name`` is the pseudonym, the conversation's id, or the record's event id. ``cause`` says whether somebody asked for it or the time in
    the section ``[retention]`` was over. The log keeps its entries; ``storage.warehouse.erasure`` says which of them no longer count, and
    the keys of their texts are destroyed.
    """

    kind: Literal["PersonErased"] = "PersonErased"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    what: Erased
    name: Identifier
    cause: Cause

    @classmethod
    def of(cls, what: Erased, name: str, cause: Cause, at: datetime) -> Self:
        """The erasure; its id derives from what is erased, so that all erasures of the same are one."""
        event_id = derived_id("PersonErased", what, name)
        return cls(event_id=event_id, occurred_at=at, source="product", what=what, name=name, cause=cause)

    @model_validator(mode="after")
    def _record_is_named_by_its_id(self) -> Self:
        if self.what == "record" and not _EVENT_ID.fullmatch(self.name):
            raise ValueError("name: a record is named by its event id, in lower case")
        return self
