"""A kind of feedback: the model of its ``POST /v1/feedback`` body, and the function that publishes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from storage.events import Source
from streams.intake import Intake


class Shape(BaseModel):
    """Base of request models: frozen, strict, unknown fields refused, and no input in errors, which reach logs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Published(NamedTuple):
    """What was published: the event's id, the pair it refers to, and whether that pair was published with it."""

    event_id: UUID
    pair_id: UUID | None = None
    with_pair: bool = False


@dataclass(frozen=True)
class FeedbackKind:
    """One row of the table.

    Attributes
    ----------
    name : the ``type`` of the body
    body : its model, with the field ``type``
    publish : makes the feedback durable; called with the caller's intake, body and source
    """

    name: str
    body: type[Shape]
    publish: Callable[[Intake, Any, Source], Published]
