"""The messages of a chat request, as any OpenAI-compatible client sends them, and the conversation as text that they stand for.

Recruiters and local models read the text. Calls of tools and their results are written into it; what has no text is named in brackets.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from storage.errors import InputRefused
from storage.events import Message
from storage.events.fields import MAX_TEXT
from streams.client_events import MAX_PROMPT
from trainers.data.messages import MAX_MESSAGES, ONE, SEVERAL, one_or_several

MAX_TURNS = 2_000  # messages of a request; events hold fewer
TEXT_PARTS = ("text", "refusal", "input_text", "output_text")  # types of content parts
THOUGHTS = ("thinking", "reasoning")  # parts that reasoning models wrote for themselves, which clients send back

AnyText = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class AnyMessage(BaseModel):
    """One message. Fields that are not named here go to an upstream and have no effect on a local model."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: (
        Annotated[Annotated[AnyText, Tag(ONE)] | Annotated[tuple[dict[str, Any], ...], Tag(SEVERAL)], Discriminator(one_or_several)] | None
    ) = None
    name: str | None = None
    tool_calls: tuple[dict[str, Any], ...] | None = None
    function_call: dict[str, Any] | None = None


AnyMessages = Annotated[tuple[AnyMessage, ...], Field(min_length=1, max_length=MAX_TURNS)]


def as_text(messages: Sequence[AnyMessage]) -> tuple[Message, ...]:
    """The conversation as text. Messages without any text are left out.

    Raises
    ------
    InputRefused
        No message has a text.
    """
    calls: dict[str, str] = {}  # names of called tools by the id of the call
    found = []
    for message in messages:
        text = _content(message)
        made = [*(message.tool_calls or ()), *([{"function": message.function_call}] if message.function_call else [])]
        for call in made:
            function = call.get("function")
            name, arguments = (function.get("name"), function.get("arguments")) if isinstance(function, Mapping) else (None, None)
            calls[str(call.get("id"))] = str(name)
            text += f"{chr(10) if text else ''}[calls {name}({arguments or ''})]"
        role: Literal["system", "user", "assistant"] = "user"
        if message.role in ("system", "developer"):
            role = "system"
        elif message.role == "assistant":
            role = "assistant"
        elif message.role in ("tool", "function"):
            called = calls.get(str((message.model_extra or {}).get("tool_call_id")), message.name or "tool")
            text = f"[{called} returned: {text}]"
        if text.strip():
            found.append(Message(role=role, content=text[:MAX_TEXT].replace("\x00", "")))
    if not found:
        raise InputRefused("messages: no message has a text", "messages")
    return tuple(found)


def newest(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The leading system message and as many of the newest others as an event may hold; at least one."""
    first = list(messages[:1] if messages[0].role == "system" and len(messages) > 1 else ())
    characters = sum(len(message.content) for message in first)
    kept: list[Message] = []
    for message in reversed(messages[len(first) :]):
        characters += len(message.content)
        if kept and (characters > MAX_PROMPT or len(first) + len(kept) == MAX_MESSAGES):
            break
        kept.append(message)
    return (*first, *kept[::-1])


def _content(message: AnyMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    parts = []
    for part in message.content:
        kind = part.get("type")
        text = part.get("text", part.get("refusal"))
        if kind in TEXT_PARTS and isinstance(text, str):
            parts.append(text)
        elif kind not in (*TEXT_PARTS, *THOUGHTS):
            parts.append(f"[{json.dumps(kind)[1:41].rstrip(chr(34))}]")
    return "\n".join(parts)
