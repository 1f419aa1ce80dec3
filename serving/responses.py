"""Response bodies in OpenAI's format: completions, chunks and models. Errors are in ``streams.http.errors``.

The extension field ``feedbackloop`` holds the ids that link a recruiter's judgment to the reply.
"""

import time
from typing import Any
from uuid import UUID

import orjson
from fastapi import Response

from serving.models.backend import NotReady
from serving.reranking import MayNotRank
from storage.errors import UpstreamError
from storage.events import new_id
from streams.http.errors import KINDS, SERVER, Kind, Kinds
from trainers.models.reply import Reply

REFUSALS: Kinds = {
    **KINDS,
    NotReady: Kind(503, "not_ready", SERVER, own_files=True),
    MayNotRank: Kind(409, "may_not_rank", own_files=True),
    UpstreamError: Kind(502, "upstream_failed", "upstream_error"),
}


class Completion:
    """Body of the response to one chat request: one object, or chunks that share an id."""

    def __init__(self, model: str) -> None:
        self.model = model  # the version serving now, until the reply names the one that wrote it
        self._id = f"chatcmpl-{new_id().hex}"
        self._created = int(time.time())

    def complete(self, reply: Reply, extension: dict[str, Any]) -> bytes:
        message = {"role": "assistant", "content": reply.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
        return orjson.dumps(self._body("chat.completion", [choice]) | {"usage": _usage(reply), "feedbackloop": extension})

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **extra: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event(self._body("chat.completion.chunk", [choice]) | extra)

    def usage(self, reply: Reply) -> bytes:
        return event(self._body("chat.completion.chunk", []) | {"usage": _usage(reply)})

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self.model, "choices": choices}


def _usage(reply: Reply) -> dict[str, int]:
    total = reply.prompt_tokens + reply.completion_tokens
    return {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens, "total_tokens": total}


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


def headers(extension: dict[str, str | None]) -> dict[str, str]:
    """The same ids as headers, for clients that drop unknown fields."""
    names = {"conversation_id": "X-FeedbackLoop-Conversation", "reply_id": "X-FeedbackLoop-Reply", "pair_id": "X-FeedbackLoop-Pair"}
    return {names[key]: value for key, value in extension.items() if value is not None}


def models(names: tuple[str, ...]) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "feedbackloop"} for name in names]}


def json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body if isinstance(body, bytes) else orjson.dumps(body), status, headers, "application/json")
