"""What the clients' methods return: replies, and receipts of what was recorded.

A receipt says that its subject is durable on the server, or with ``spooled=True`` in the client's spool; then what only the server knows
is None.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class ChatReply(BaseModel):
    """A reply, and the ids by which recruiters can judge it.

    ``pair_id`` identifies the pair of this reply and a second response; None if no second response will be drawn.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    version: str
    conversation_id: str
    reply_id: UUID | None = None
    pair_id: UUID | None = None


class Receipt(BaseModel):
    """The feedback is durable. ``waiting`` is True while the pair it refers to is not on the log yet, None if not known."""

    model_config = ConfigDict(frozen=True)

    event_id: UUID | None = None
    pair_id: UUID | None = None
    waiting: bool | None = None
    spooled: bool = False


class WidgetToken(BaseModel):
    """A token for a recruiter's browser. Answer the page's ``token-src`` with ``model_dump()``; ``expires_in`` is in seconds."""

    model_config = ConfigDict(frozen=True)

    token: Annotated[str, Field(repr=False)]
    recruiter: str
    expires_in: int


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
    """The results of a bulk, in the order of its items. The accepted ones are durable, all in one commit. A spooled bulk has none yet."""

    model_config = ConfigDict(frozen=True)

    accepted: int = 0
    refused: int = 0
    results: tuple[BulkResult, ...] = ()
    spooled: bool = False


class Pair(BaseModel):
    """A pair of responses supplied by the product, ready to be judged."""

    model_config = ConfigDict(frozen=True)

    event_id: UUID | None = None
    pair_id: UUID
    conversation_id: str | None = None
    spooled: bool = False


class OutcomeReceipt(BaseModel):
    """The groups and the outcome are durable. The ids are None for what was not given."""

    model_config = ConfigDict(frozen=True)

    groups_event_id: UUID | None = None
    outcome_event_id: UUID | None = None
    outcome_id: str | None = None
    spooled: bool = False
