"""TRL's preference format, and what this project exports: prompt, chosen and rejected."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from storage.errors import InputRefused
from storage.events import Message
from trainers.data.layouts.layout import Layout, Record, conversation, preferred, reply, required
from trainers.data.preference import Preference

COLUMNS = ("prompt", "chosen", "rejected", "strength")

_STRENGTH: TypeAdapter[int | None] = TypeAdapter(Annotated[int, Field(ge=1, le=4)] | None)


def read(record: Record) -> Preference:
    """Parse a record.

    ``prompt`` is a string or a list of chat messages; ``chosen`` and ``rejected`` are strings, or lists of messages that end with the
    reply. A string prompt that is a transcript of ``Human:`` and ``Assistant:`` turns is split into messages; any other is one user
    message. If the lists also hold messages before a string prompt, such as a system message, the prompt is taken from them. If ``prompt``
    is absent, ``chosen`` and ``rejected`` are full conversations (lists or transcripts) and their common part is the prompt. ``strength``
    is 1 to 4. Of each message only role and content are read; other fields are ignored unless they hold more than text.
    """
    for name in COLUMNS:
        if (value := record.get(name)) != value:
            raise InputRefused(f"{name} is NaN, which stands for a missing value", name)
    one, other = required(record, "chosen"), required(record, "rejected")
    asked = record.get("prompt")
    if asked is None or _have_earlier_messages(asked, one, other):
        prompt, chosen, rejected = _shared_prompt(conversation(one, "chosen"), conversation(other, "rejected"))
    else:
        prompt = conversation(asked, "prompt")
        chosen, rejected = reply(one, prompt, "chosen"), reply(other, prompt, "rejected")
    return preferred(prompt, chosen, rejected, _strength(record.get("strength")))


def _have_earlier_messages(asked: Any, one: Any, other: Any) -> bool:
    """Whether both replies are conversations that end with this prompt and a reply, and have earlier messages too."""
    if not isinstance(asked, str) or isinstance(one, str) or isinstance(other, str):
        return False
    return all(_question(value) == asked and len(value) > 2 for value in (one, other))


def _question(value: Any) -> Any:
    """The second-to-last message of a conversation, if it is the user's."""
    try:
        return value[-2]["content"] if value[-2]["role"] == "user" else None
    except (KeyError, IndexError, TypeError):
        return None


def _strength(value: Any) -> int | None:
    try:
        return _STRENGTH.validate_python(value)
    except ValidationError as error:
        raise InputRefused(f"strength: {error.errors(include_input=False)[0]['msg']}", "strength") from error


def _shared_prompt(chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> tuple[tuple[Message, ...], str, str]:
    prompt = chosen[:-1]
    if not prompt or prompt != rejected[:-1]:
        raise InputRefused("prompt is missing, and chosen and rejected share no conversation up to their last message", "prompt")
    if {chosen[-1].role, rejected[-1].role} != {"assistant"}:
        raise InputRefused("prompt is missing, and chosen and rejected do not both end with the assistant's reply", "prompt")
    return prompt, chosen[-1].content, rejected[-1].content


LAYOUT = Layout("prompt, chosen and rejected", (("chosen", "rejected"),), COLUMNS, read)
