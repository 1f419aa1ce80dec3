"""Parses chat messages from API clients and from files into the messages of our events.

The chat API validates them as :class:`ChatMessage` and rejects unknown fields. Files carry fields of other programs, so
:func:`messages_in` drops a message's other fields first, unless they hold more than text, such as tool calls.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from storage.errors import InputRefused
from storage.events import Message, Text, problems

# Tags of the two forms of a message's content; the form decides which error is reported. The brackets tell tags from field names.
ONE, SEVERAL = "(one)", "(several)"
MAX_MESSAGES = 200

_TEXT_FIELDS = ("role", "content")
_NON_TEXT_FIELDS = ("tool_calls", "function_call", "refusal", "images", "audio", "videos")


def one_or_several(value: Any) -> str:
    """The tag of a field that takes one value or several, for a pydantic ``Discriminator``."""
    return SEVERAL if isinstance(value, list | tuple) else ONE


class TextPart(BaseModel):
    """One part of a message's content."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    """A message as OpenAI's client sends it. A reply's fields other than its text are accepted if they are empty."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[Text, Tag(ONE)] | Annotated[tuple[TextPart, ...], Field(min_length=1), Tag(SEVERAL)], Discriminator(one_or_several)
    ]
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None

    def plain(self) -> Message:
        """The message with its content joined to one string, as in events."""
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=text)


ChatMessages = Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=MAX_MESSAGES)]

_ADAPTER: TypeAdapter[tuple[ChatMessage, ...]] = TypeAdapter(ChatMessages)


def messages_in(values: Sequence[Any], field: str) -> tuple[Message, ...]:
    """Parse the messages in a field of a record.

    Raises
    ------
    InputRefused
        Names the invalid message and the reason.
    """
    given = tuple(_text_fields(value, f"{field}.{i}") if isinstance(value, Mapping) else value for i, value in enumerate(values))
    try:
        return tuple(message.plain() for message in _ADAPTER.validate_python(given))
    except ValidationError as error:
        # pydantic counts only messages without an error, and reports "too short" where each has one
        found = [each for each in error.errors(include_input=False) if each["type"] != "too_short" or not values]
        raise InputRefused(f"{field}: {problems({**each, 'loc': field_path(each['loc'])} for each in found)}", field) from error


def field_path(loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """An error's location without the tags of :func:`one_or_several`."""
    return tuple(part for part in loc if not isinstance(part, str) or not any(sign in part for sign in "[("))


def _text_fields(value: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Role and content, without nulls, which ``datasets`` writes for every key that another row's message has."""
    for key in _NON_TEXT_FIELDS:
        if value.get(key):
            raise InputRefused(f"{field} has {key}; only messages of text alone are supported", field.partition(".")[0])
    cleaned = {key: value[key] for key in _TEXT_FIELDS if key in value}
    if isinstance(cleaned.get("content"), list):
        parts = cleaned["content"]
        cleaned["content"] = tuple(
            {k: v for k, v in part.items() if v is not None} if isinstance(part, Mapping) else part for part in parts
        )
    return cleaned
