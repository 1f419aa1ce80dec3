"""Conversations to imitate, in OpenAI's and ShareGPT's messages: every reply of the assistant is a demonstration."""

from collections.abc import Sequence
from typing import Any

from storage.errors import InputRefused
from storage.events import Message
from trainers.data.demonstration import Demonstration
from trainers.data.layouts.layout import Layout, Record, conversation, required
from trainers.data.layouts.sharegpt import messages_of


def read(record: Record) -> tuple[Demonstration, ...]:
    """``messages`` or ``conversations`` hold the conversation, ``system`` an optional system message."""
    field = "messages" if record.get("messages") is not None else "conversations"
    messages: Any = messages_of(required(record, field), field)
    if isinstance(system := record.get("system"), str) and system.strip() and isinstance(messages, Sequence):
        messages = [{"role": "system", "content": system}, *messages]
    return _demonstrations(conversation(messages, field), field)


def _demonstrations(messages: tuple[Message, ...], field: str) -> tuple[Demonstration, ...]:
    found = [
        Demonstration.of_reply(messages[:at], message.content)
        for at, message in enumerate(messages)
        if message.role == "assistant" and any(before.role == "user" for before in messages[:at])
    ]
    if not found:
        raise InputRefused(f"{field}: no reply of the assistant follows a user's message", field)
    return tuple(found)


LAYOUT = Layout(
    "conversations", (("messages.role", "messages.content"), ("conversations.from", "conversations.value")),
    ("messages", "conversations", "system"), read, holds="demonstrations",
)  # fmt: skip
