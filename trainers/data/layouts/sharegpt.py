"""ShareGPT's messages, with from and value: conversations with a chosen and a rejected reply."""

from collections.abc import Mapping
from typing import Any

from storage.errors import InputRefused
from trainers.data.layouts import trl
from trainers.data.layouts.layout import Layout, Record, required
from trainers.data.preference import Preference

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bing": "assistant"}


def read(record: Record) -> Preference:
    """``conversations`` or ``prompt`` hold the prompt, ``system`` an optional system message; replies are messages or lists of them."""
    asked = record.get("conversations")
    prompt = messages_of(asked if asked is not None else record.get("prompt"), "conversations")
    if isinstance(system := record.get("system"), str) and system.strip():
        prompt = [{"role": "system", "content": system}, *(prompt or [])]
    chosen, rejected = (messages_of(required(record, name), name) for name in ("chosen", "rejected"))
    return trl.read({"prompt": prompt or None, "chosen": chosen, "rejected": rejected})


def messages_of(value: Any, field: str) -> Any:
    """Messages with ``from`` and ``value`` in the form with role and content; any other value unchanged."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return [_message(message, field) for message in value]


def _message(message: Any, field: str) -> Any:
    if not isinstance(message, Mapping) or "from" not in message:
        return message
    speaker = message["from"]
    role = "system" if speaker == "system" else _ROLES.get(speaker)
    if role is None:
        raise InputRefused(f"{field}: a message is from {str(speaker)[:40]!r}; only human, gpt and system can be read", field)
    return {"role": role, "content": message.get("value")}


LAYOUT = Layout(
    "ShareGPT's layout",
    (("conversations.from", "chosen"), ("chosen.from", "chosen.value"), ("prompt.from", "prompt.value")),
    ("conversations", "prompt", "system", "chosen", "rejected"),
    read,
)
