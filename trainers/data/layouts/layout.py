"""The interface of a preference file's layout, and the parsers of prompts and replies that layouts share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from storage.errors import InputRefused
from storage.events import Message, Text
from trainers.data.demonstration import Demonstration
from trainers.data.messages import messages_in
from trainers.data.preference import Preference
from trainers.data.rating import Rating

Parsed = Preference | Rating | tuple[Demonstration, ...]
Record = Mapping[str, Any]

_TEXT: TypeAdapter[str] = TypeAdapter(Text)
_TURNS = (("Human:", "user"), ("Assistant:", "assistant"))


@dataclass(frozen=True)
class Layout:
    """One row of the table: a layout of records that other tools write.

    Attributes
    ----------
    name : shown to users
    known_by : alternatives of field patterns; a record matches if all patterns of one alternative do. ``chosen.from`` is the field ``from``
        inside ``chosen``, or inside the first of its messages
    columns : patterns of the required columns; of Parquet only these are read
    read : parses a record; raises ``InputRefused`` with the invalid field
    holds : what its records are
    """

    name: str
    known_by: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...]
    read: Callable[[Record], Parsed]
    holds: Literal["preferences", "demonstrations", "ratings"] = "preferences"


def required(record: Record, name: str) -> Any:
    """The field's value.

    Raises
    ------
    InputRefused
        It is missing.
    """
    value = record.get(name)
    if value is None:
        raise InputRefused(f"{name} is missing", name)
    return value


def conversation(value: Any, field: str) -> tuple[Message, ...]:
    """Parse a string or a list of messages; a ``Human:``/``Assistant:`` transcript is split into messages."""
    if isinstance(value, str):
        value = _turns(value)
    elif not isinstance(value, Sequence) or isinstance(value, bytes):
        raise InputRefused(f"{field} is a {type(value).__name__}; expected a string or a list of messages with role and content", field)
    if not value:
        raise InputRefused(f"{field} is empty; it needs at least 1 message", field)
    return messages_in(value, field)


def reply(value: Any, prompt: tuple[Message, ...], field: str) -> str:
    """The reply's text; a list of messages may repeat the prompt before it."""
    if not isinstance(value, str):
        messages = conversation(value, field)
        if messages[-1].role != "assistant":
            raise InputRefused(f"{field}: its last message is the {messages[-1].role}'s; the reply has to be the assistant's", field)
        if messages[:-1] not in ((), prompt):
            raise InputRefused(f"{field}: the messages before the reply are not the prompt's", field)
        value = messages[-1].content
    if not value.strip():
        raise InputRefused(f"{field} is blank", field)
    try:
        return _TEXT.validate_python(value)
    except ValidationError as error:
        raise InputRefused(f"{field}: {error.errors(include_input=False)[0]['msg']}", field) from error


def preferred(prompt: tuple[Message, ...], chosen: str, rejected: str, strength: int | None = None) -> Preference:
    """The preference of one reply to another.

    Raises
    ------
    InputRefused
        Both are the same text.
    """
    if chosen == rejected:
        raise InputRefused("rejected equals chosen: the record says no preference", "rejected")
    return Preference.of_replies(prompt, chosen, rejected, strength)


def of_two(prompt: tuple[Message, ...], first: str, second: str, *, first_preferred: bool | None) -> Preference:
    """The preference of the first or the second reply; None is a tie."""
    if first_preferred is None:
        return Preference.of_tie(prompt, first, second)
    return preferred(prompt, first, second) if first_preferred else preferred(prompt, second, first)


def _turns(text: str) -> list[dict[str, str]]:
    """A transcript as messages, empty turns left out; any other text as one user message."""
    turns: list[dict[str, str]] = []
    for part in ("\n\n" + text.strip()).split("\n\n"):
        for mark, role in _TURNS:
            if part.startswith(mark):
                turns.append({"role": role, "content": part.removeprefix(mark).strip()})
                break
        else:
            if turns:
                turns[-1]["content"] += "\n\n" + part
            elif part:  # text before the first turn: not a transcript
                return [{"role": "user", "content": text}]
    stripped = [turn | {"content": turn["content"].strip()} for turn in turns]
    return [turn for turn in stripped if turn["content"]]
