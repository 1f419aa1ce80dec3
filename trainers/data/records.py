"""Preference data from outside, as training sees it: files of records or a frozen snapshot, brought into one form.

The import reads its lines with :func:`parse_record` and the offline phases (``feedbackloop train --data FILE``) with
:func:`read_preferences`, so that a record means the same wherever it enters.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from storage.errors import InputRefused
from storage.events import Message, Part, Prompt, Side, Stratum, Text, problems
from storage.strata import conversation_of, stratum_of
from trainers.data.bad_lines import BadLine, BadLines
from trainers.data.files import COLUMNS, Unreadable, rows

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(Prompt)
_TEXT: TypeAdapter[str] = TypeAdapter(Text)
_TURNS = (("Human:", "user"), ("Assistant:", "assistant"))
# Of a message, role and content are read. These say something that the content does not, so that a message that has one is refused;
# whatever else it carries (a name, a weight, an id) changes nothing and is ignored.
_MORE_THAN_TEXT = ("tool_calls", "function_call", "refusal", "images", "audio", "videos")


class PreferenceRecord(Part):
    """Somebody preferred ``chosen`` to ``rejected`` as the next reply to ``prompt``."""

    prompt: Prompt
    chosen: Text
    rejected: Text
    strength: Annotated[int, Field(ge=1, le=4)] | None = None

    @property
    def conversation_id(self) -> str:
        """The id that stands for the record's prompt in the split into strata."""
        return conversation_of(self.prompt)

    @property
    def digest(self) -> str:
        """SHA-256 of the record's texts; the same record in another file has the same."""
        return hashlib.sha256(orjson.dumps([self.model_dump(include={"prompt"}), self.chosen, self.rejected])).hexdigest()

    @property
    def chosen_side(self) -> Side:
        """The side on which ``chosen`` stands, by a hash of the record, so that neither side is favoured."""
        return "A" if int(self.digest[0], 16) % 2 == 0 else "B"


def parse_record(line: str | bytes | Mapping[str, Any]) -> PreferenceRecord:
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
    try:
        return PreferenceRecord(prompt=prompt, chosen=chosen, rejected=rejected, strength=line.get("strength"))
    except ValidationError as error:
        raise InputRefused(problems(error.errors(include_input=False)), str(error.errors()[0]["loc"][0])) from error


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
    try:
        return _MESSAGES.validate_python([_message(m, f"{field}.{i}") if isinstance(m, Mapping) else m for i, m in enumerate(value)])
    except ValidationError as error:
        # pydantic counts only messages without fault, and says where all have one that there are too few
        faults = [fault for fault in error.errors(include_input=False) if fault["type"] != "too_short"]
        raise InputRefused(f"{field}: {problems(faults)}", field) from error


def _message(value: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Role and content. ``datasets`` writes null for every key that another row's message has."""
    for key in _MORE_THAN_TEXT:
        if value.get(key):
            raise InputRefused(f"{field} has {key}; only messages that are text alone can be learnt from", field.partition(".")[0])
    return {key: value[key] for key in ("role", "content") if key in value}


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


def read_records(path: Path) -> Iterator[tuple[int, PreferenceRecord | BadLine]]:
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
class Comparison:
    """One answered comparison, whatever it was read from. ``recruiter`` and ``shown_first`` are None where nobody knows."""

    prompt: tuple[Message, ...]
    a: str
    b: str
    choice: Literal["A", "B", "tie"]
    stratum: Stratum
    conversation_id: str
    strength: int | None = None
    recruiter: str | None = None
    shown_first: Side | None = None

    def swapped(self) -> "Comparison":
        """The same answer with A and B exchanged."""
        choice, first = _OTHER_CHOICE[self.choice], None if self.shown_first is None else _OTHER_SIDE[self.shown_first]
        return replace(self, a=self.b, b=self.a, choice=choice, shown_first=first)


_OTHER_CHOICE: dict[Literal["A", "B", "tie"], Literal["A", "B", "tie"]] = {"A": "B", "B": "A", "tie": "tie"}
_OTHER_SIDE: dict[Side, Side] = {"A": "B", "B": "A"}


@dataclass(frozen=True)
class PreferenceData:
    """What a file or snapshot holds: the comparisons in its order, and the lines that are no records."""

    comparisons: tuple[Comparison, ...]
    bad: BadLines


def comparison_of(record: PreferenceRecord) -> Comparison:
    """The record as a comparison of A and B, sides by its hash, stratum by its prompt."""
    side, conversation = record.chosen_side, record.conversation_id
    a, b = (record.chosen, record.rejected) if side == "A" else (record.rejected, record.chosen)
    return Comparison(record.prompt, a, b, side, stratum_of(conversation), conversation, record.strength)


def read_preferences(path: Path) -> PreferenceData:
    """The comparisons of a JSONL, gzipped JSONL or Parquet file, or of a snapshot's folder.

    Raises
    ------
    ConfigurationError
        There is nothing readable at ``path``.
    DataRefused
        Not one of its lines is a preference record; the message gives the first reasons.
    """
    bad = BadLines(path)
    if path.is_dir():
        return PreferenceData(tuple(_from_snapshot(path)), bad)
    comparisons = []
    for _, item in read_records(path):
        if isinstance(item, BadLine):
            bad.add(item)
        else:
            comparisons.append(comparison_of(item))
    if not comparisons:
        raise bad.all_refused()
    return PreferenceData(tuple(comparisons), bad)


def _from_snapshot(folder: Path) -> Iterator[Comparison]:
    from storage.snapshots.snapshot import open_snapshot

    table = open_snapshot(folder).admitted
    columns = ["prompt", "a", "b", "choice", "stratum", "conversation_id", "strength", "recruiter", "shown_first"]
    for row in table.select([*columns, "objective"]).to_pylist():
        if row.pop("objective") == "overall" and row["choice"] in ("A", "B", "tie"):
            yield Comparison(**row | {"prompt": _MESSAGES.validate_json(row["prompt"])})
