"""Preference data from outside, as training sees it: files of records or a frozen snapshot, brought into one form.

The import reads its lines with :func:`parse_record` and the offline phases (``feedbackloop train --data FILE``) with
:func:`read_preferences`, so that a record means the same wherever it enters.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from storage.errors import InputRefused
from storage.events import Message, Text
from trainers.data.bad_lines import BadLine, BadLines
from trainers.data.files import COLUMNS, Unreadable, rows
from trainers.data.messages import messages_in
from trainers.data.preference import Preference

_STRENGTH: TypeAdapter[int | None] = TypeAdapter(Annotated[int, Field(ge=1, le=4)] | None)
_TEXT: TypeAdapter[str] = TypeAdapter(Text)
_TURNS = (("Human:", "user"), ("Assistant:", "assistant"))


def parse_record(line: str | bytes | Mapping[str, Any]) -> Preference:
    """One preference record, from a line of JSON or from a row of a table.

    ``prompt`` is a string or a list of chat messages; ``chosen`` and ``rejected`` are strings, or lists of messages of which the last one
    is the reply. A string prompt that is a transcript of ``Human:`` and ``Assistant:`` turns becomes messages, any other one user message.
    Where ``prompt`` is absent, ``chosen`` and ``rejected`` are whole conversations (lists, or transcripts) and what they share is the
    prompt. Other columns are ignored, save ``strength`` (1 … 4). Of a message, role and content are read; what else it has is ignored
    unless it holds more than text, such as tool calls.

    Raises
    ------
    InputRefused
        With the field at fault and what is wrong about it.
    """
    if isinstance(line, str | bytes):
        line = _json(line)
    if not isinstance(line, Mapping):
        raise InputRefused(f"a {type(line).__name__} is no record; expected an object with prompt, chosen and rejected")
    for name in COLUMNS:
        if (value := line.get(name)) != value:
            raise InputRefused(f"{name} is NaN, which stands for a missing value", name)
    for name in ("chosen", "rejected"):
        if line.get(name) is None:
            raise InputRefused(f"{name} is missing", name)
    if line.get("prompt") is None:
        prompt, chosen, rejected = _shared_prompt(_conversation(line["chosen"], "chosen"), _conversation(line["rejected"], "rejected"))
    else:
        prompt = _conversation(line["prompt"], "prompt")
        chosen, rejected = _reply(line["chosen"], prompt, "chosen"), _reply(line["rejected"], prompt, "rejected")
    if chosen == rejected:
        raise InputRefused("rejected equals chosen: the record says no preference", "rejected")
    return Preference.of_replies(prompt, chosen, rejected, _strength(line.get("strength")))


def _strength(value: Any) -> int | None:
    try:
        return _STRENGTH.validate_python(value)
    except ValidationError as error:
        raise InputRefused(f"strength: {error.errors(include_input=False)[0]['msg']}", "strength") from error


def _json(line: str | bytes) -> Any:
    """The value of a line. What orjson refuses and Python takes (NaN, numbers without bounds, half characters) may stand in any column."""
    line = line.strip()
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(line if isinstance(line, str) else line.decode(), parse_int=_integer)
        except (ValueError, RecursionError):
            raise InputRefused(f"not JSON in UTF-8: {error.msg} (column {error.colno})") from error


def _integer(digits: str) -> float:
    """Python refuses to read thousands of digits as an integer."""
    return int(digits) if len(digits) < 20 else float(digits)


def _conversation(value: Any, field: str) -> tuple[Message, ...]:
    """The messages that a string or a list of messages stands for."""
    if isinstance(value, str):
        value = _turns(value)
    elif not isinstance(value, Sequence) or isinstance(value, bytes):
        raise InputRefused(f"{field} is a {type(value).__name__}; expected a string or a list of messages with role and content", field)
    if not value:
        raise InputRefused(f"{field} is empty; it needs at least 1 message", field)
    return messages_in(value, field)


def _turns(text: str) -> list[dict[str, str]]:
    """A ``Human:``/``Assistant:`` transcript as messages, turns without words left out; any other text as one user message."""
    turns: list[dict[str, str]] = []
    for part in ("\n\n" + text.strip()).split("\n\n"):
        for mark, role in _TURNS:
            if part.startswith(mark):
                turns.append({"role": role, "content": part.removeprefix(mark).strip()})
                break
        else:
            if turns:
                turns[-1]["content"] += "\n\n" + part
            elif part:  # words before the first turn: no transcript
                return [{"role": "user", "content": text}]
    spoken = [turn | {"content": turn["content"].strip()} for turn in turns]
    return [turn for turn in spoken if turn["content"]]


def _reply(value: Any, prompt: tuple[Message, ...], field: str) -> str:
    """The reply's text; a list of messages may repeat the prompt before it."""
    if not isinstance(value, str):
        messages = _conversation(value, field)
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


def _shared_prompt(chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> tuple[tuple[Message, ...], str, str]:
    prompt = chosen[:-1]
    if not prompt or prompt != rejected[:-1]:
        raise InputRefused("prompt is missing, and chosen and rejected share no conversation up to their last message", "prompt")
    if {chosen[-1].role, rejected[-1].role} != {"assistant"}:
        raise InputRefused("prompt is missing, and chosen and rejected do not both end with the assistant's reply", "prompt")
    return prompt, chosen[-1].content, rejected[-1].content


def read_records(path: Path) -> Iterator[tuple[int, Preference | BadLine]]:
    """Every record of a JSONL (``.gz`` or not) or Parquet file with its line or row number, bad ones in their place.

    Raises
    ------
    ConfigurationError
        The file is not there or cannot be read as what it is.
    """
    for number, row in rows(path):
        try:
            if isinstance(row, Unreadable):
                raise InputRefused(str(row))
            yield number, parse_record(row)
        except InputRefused as error:
            yield number, BadLine(number, str(error))


@dataclass(frozen=True)
class PreferenceData:
    """What a file or snapshot holds: its preferences in order, and the lines that are no records."""

    preferences: tuple[Preference, ...]
    bad: BadLines


def read_preferences(path: Path) -> PreferenceData:
    """The preferences of a JSONL, gzipped JSONL or Parquet file, or of a snapshot's folder.

    Raises
    ------
    ConfigurationError
        There is nothing readable at ``path``.
    DataRefused
        Not one of its lines is a preference record; the message gives the first reasons.
    """
    bad = BadLines(path)
    if path.is_dir():
        from storage.snapshots.snapshot import open_snapshot
        from trainers.data.snapshots import preferences_of

        return PreferenceData(tuple(preferences_of(open_snapshot(path))), bad)
    preferences = []
    for _, item in read_records(path):
        if isinstance(item, BadLine):
            bad.add(item)
        else:
            preferences.append(item)
    if not preferences:
        raise bad.all_refused()
    return PreferenceData(tuple(preferences), bad)
