"""Calls of the chat API."""

from collections.abc import Sequence
from typing import Any

from feedbackloop.calls.call import Call, Message, as_messages, get, post
from feedbackloop.receipts import ChatReply


def chat(
    messages: str | Sequence[Message],
    *,
    model: str = "champion",
    conversation_id: str | None = None,
    user: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
) -> Call[ChatReply]:
    """Get the champion's reply to a question, or to a list of messages with ``role`` and ``content``.

    ``user`` is the product's id of the candidate; the server stores a pseudonym of it.
    """
    metadata = None if conversation_id is None else {"conversation_id": conversation_id}
    body = {"model": model, "messages": as_messages(messages), "metadata": metadata, "user": user}
    return post("/v1/chat/completions", body | {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}, _reply)


def models() -> Call[list[str]]:
    """Names accepted as ``model`` by ``chat``; the version that is serving comes first."""
    return get("/v1/models", lambda answer: [model["id"] for model in answer["data"]], server="serving")


def _reply(answer: dict[str, Any]) -> ChatReply:
    return ChatReply(text=answer["choices"][0]["message"]["content"], version=answer["model"], **answer["feedbackloop"])
