"""Quarantine: entries that could not be read or handled."""

from typing import Annotated, Literal

from pydantic import Field

from storage.events.event import Event
from storage.events.fields import Identifier, Sha256


class EventQuarantined(Event):
    """Something on ``topic`` could not be read or handled; its first 256 kB are kept here with the hash of all of it."""

    kind: Literal["EventQuarantined"] = "EventQuarantined"
    topic: Identifier
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    reader: Identifier
    reason: str
    payload: str  # base64
    payload_hash: Sha256
