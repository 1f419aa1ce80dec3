"""Quarantine: entries that could not be read or handled."""

from typing import Annotated, Literal

from pydantic import Field

from storage.events.event import Event
from storage.events.fields import Identifier, Sha256


class EventQuarantined(Event):
    """Something on ``topic`` could not be read or handled. Its bytes stay where they are: a copy of them could not be erased with them."""

    kind: Literal["EventQuarantined"] = "EventQuarantined"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    topic: Identifier
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    reader: Identifier
    reason: str
    payload_hash: Sha256
