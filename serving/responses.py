"""What responses in OpenAI's format share. Errors are in ``streams.http.errors``.

The extension field ``feedbackloop`` holds the ids that link a recruiter's judgment to the reply.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from fastapi import Response
from pydantic import BaseModel

from serving.models.backend import NotReady
from serving.reranking import MayNotRank
from storage.errors import QueueFull, UpstreamError
from streams.http.documented import event_stream
from streams.http.errors import KINDS, SERVER, Kind, Kinds

REFUSALS: Kinds = {
    **KINDS,
    NotReady: Kind(503, "not_ready", SERVER, own_files=True),
    MayNotRank: Kind(409, "may_not_rank", own_files=True),
    QueueFull: Kind(429, "rate_limit_exceeded", "rate_limit_error"),
    UpstreamError: Kind(502, "upstream_failed", "upstream_error"),
}


DONE = b"data: [DONE]\n\n"
STREAM_HEADERS = {"X-Accel-Buffering": "no"}  # a reverse proxy passes each event on at once


def event(body: dict[str, Any]) -> bytes:
    """Encode one server-sent event."""
    return b"data: " + orjson.dumps(body) + b"\n\n"


def extension(conversation_id: str, reply_id: UUID | None, pair_id: UUID | None) -> dict[str, str | None]:
    """The ids by which a reply can be judged; a blank reply has no ``reply_id``."""
    return {
        "conversation_id": conversation_id,
        "reply_id": None if reply_id is None else str(reply_id),
        "pair_id": None if pair_id is None else str(pair_id),
    }


REPLY_HEADERS = {
    "X-FeedbackLoop-Conversation": {"description": "The conversation's id.", "required": True, "schema": {"type": "string"}},
    "X-FeedbackLoop-Reply": {"description": "The id of the reply, if it is logged.", "schema": {"type": "string", "format": "uuid"}},
    "X-FeedbackLoop-Pair": {"description": "The id of the pair drawn for it.", "schema": {"type": "string", "format": "uuid"}},
    "X-FeedbackLoop-Ignored": {"description": "Fields of the request that had no effect.", "schema": {"type": "string"}},
}
EXPOSED_HEADERS = ("X-FeedbackLoop-Conversation", "X-FeedbackLoop-Reply", "X-FeedbackLoop-Pair", "X-FeedbackLoop-Ignored", "Retry-After")


def answered(
    model: type[BaseModel],
    headers: dict[str, Any] | None = None,
    events: Sequence[type[BaseModel]] = (),
    last: str | None = None,
    *,
    status: int = 200,
    description: str = "Successful Response",
) -> dict[int | str, dict[str, Any]]:
    """A successful response of a route in the OpenAPI document: its body, its headers, and the events of a stream."""
    found: dict[str, Any] = {"model": model, "description": description}
    if headers is not None:
        found["headers"] = headers
    if events:
        found["content"] = event_stream(*events, last=last)
    return {status: found}


def headers(extension: dict[str, str | None]) -> dict[str, str]:
    """The same ids as headers, for clients that drop unknown fields."""
    names = {"conversation_id": "X-FeedbackLoop-Conversation", "reply_id": "X-FeedbackLoop-Reply", "pair_id": "X-FeedbackLoop-Pair"}
    return {names[key]: value for key, value in extension.items() if value is not None}


def json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body if isinstance(body, bytes) else orjson.dumps(body), status, headers, "application/json")
