"""The receipts of feedback, pairs and outcomes, as the OpenAPI document describes them. A test holds real responses against them."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Discriminator

from streams.http.errors import ErrorDetail


class Receipt(BaseModel):
    """What was recorded, durably."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Literal["accepted"]


class FeedbackReceipt(Receipt):
    """``waiting`` tells of a pair whether it is still awaited: true or false where this process knows, else null."""

    event_id: UUID
    pair_id: UUID | None = None
    waiting: bool | None = None


class AcceptedItem(FeedbackReceipt):
    index: int


class RefusedItem(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    status: Literal["refused"]
    error: ErrorDetail


class BulkReceipt(BaseModel):
    """The result of each item, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: int
    refused: int
    results: list[Annotated[AcceptedItem | RefusedItem, Discriminator("status")]]


class PairReceipt(Receipt):
    event_id: UUID
    pair_id: UUID
    conversation_id: str


class OutcomeReceipt(Receipt):
    """The ids of what was sent: null for groups or an outcome that was not."""

    groups_event_id: UUID | None
    outcome_event_id: UUID | None
    outcome_id: str | None
