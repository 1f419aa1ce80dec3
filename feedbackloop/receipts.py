"""What the server answers to feedback: each is durable there when the client has it."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Receipt(BaseModel):
    """The feedback is durable on the server. ``waiting`` is True while the pair it refers to is not on the log yet, None if not known."""

    model_config = ConfigDict(frozen=True)

    event_id: UUID
    pair_id: UUID | None = None
    waiting: bool | None = None


class BulkResult(BaseModel):
    """One item of a bulk: its receipt, or the error (``message``, ``param``, ``code``) for which it was refused."""

    model_config = ConfigDict(frozen=True)

    index: int
    status: Literal["accepted", "refused"]
    event_id: UUID | None = None
    pair_id: UUID | None = None
    waiting: bool | None = None
    error: dict[str, Any] | None = None


class BulkReceipt(BaseModel):
    """The results of a bulk, in the order of its items. The accepted ones are durable, all in one commit."""

    model_config = ConfigDict(frozen=True)

    accepted: int
    refused: int
    results: tuple[BulkResult, ...]


class Pair(BaseModel):
    """A pair of responses supplied by the product, ready to be judged."""

    model_config = ConfigDict(frozen=True)

    event_id: UUID
    pair_id: UUID
    conversation_id: str


class OutcomeReceipt(BaseModel):
    """The groups and the outcome are durable on the server. The ids are None for what was not given."""

    model_config = ConfigDict(frozen=True)

    groups_event_id: UUID | None = None
    outcome_event_id: UUID | None = None
    outcome_id: str | None = None
