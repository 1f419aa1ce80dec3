"""Recognises files of preferences in a layout that is not read, so that a refusal can say what they are and how to convert them."""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from trainers.data.files import column_names, is_parquet, opened_text

HEAD = 1 << 20  # bytes of a file that are looked at

# A layout and the fields by which its records are known: all patterns of one of the alternatives. ``chosen.from`` is the field ``from``
# inside ``chosen``, or inside the first of its messages.
LAYOUTS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("Label Studio's export", (("annotations", "data"), ("annotations", "data.*"))),
    ("Argilla's export", (("fields", "responses"), ("fields", "suggestions"), ("*.responses",), ("*.suggestion",))),
    ("ShareGPT's layout (from and value)", (("conversations",), ("chosen.from", "chosen.value"), ("prompt.from", "prompt.value"))),
    ("OpenAI's preference format (preferred_output)", (("preferred_output",), ("non_preferred_output",))),
    ("PKU-SafeRLHF", (("response_0", "response_1"),)),
    ("SHP", (("human_ref_A", "human_ref_B"),)),
    ("Chatbot Arena's votes", (("conversation_a", "conversation_b"), ("response_a", "response_b"))),
    ("KTO's unpaired labels", (("completion", "label"),)),
)
PROMPTS = {"question", "instruction", "input", "query"}  # what others call the prompt
ARRAY = "the file is one JSON array, not one record a line; `jq -c '.[]' FILE` makes lines of it"
PRETTY = "the file is JSON over several lines, not one record a line; `jq -c . FILE` makes one line of each record"
CSV = "this looks like CSV; write each row as one line of JSON"
CONVERT = "write prompt, chosen and rejected of each comparison as one line of JSON"


def hint(path: Path) -> str | None:
    """What the file looks like, and what to do about it; None where nothing is recognised."""
    try:
        if is_parquet(path):
            return _of_fields(column_names(path))
        with opened_text(path) as stream:
            head = stream.read(HEAD)
    except (ConfigurationError, OSError, ValueError):
        return None
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "the file is UTF-16; save it as UTF-8"
    if head.startswith(b"PK\x03\x04"):
        return "the file is a ZIP archive or a spreadsheet; unpack it, or write each row as one line of JSON"
    return _of_text(head.decode("utf-8-sig", errors="replace"))


def _of_text(text: str) -> str | None:
    text = text.lstrip()
    first_line = text.partition("\n")[0]
    if text.startswith("["):
        inside = text[1:].lstrip()
        if not inside.startswith("{"):
            return None
        record = _first_value(inside)
        layout = _of_fields(_fields(record)) if isinstance(record, Mapping) else None
        return f"{ARRAY}; and {layout}" if layout else ARRAY
    if text.startswith("{"):
        record = _first_value(first_line)
        if isinstance(record, Mapping):
            return _of_fields(_fields(record))
        record = _first_value(text)
        if isinstance(record, Mapping) or first_line.strip() == "{":
            layout = _of_fields(_fields(record)) if isinstance(record, Mapping) else None
            return f"{PRETTY}; and {layout}" if layout else PRETTY
        return None
    for separator in (",", "\t", ";"):
        names = [name.strip().strip('"').lower() for name in first_line.split(separator)]
        if len(names) > 1 and {"prompt", "chosen", "rejected", "question", "instruction", "response"} & set(names):
            return CSV
    return None


def _of_fields(fields: list[str]) -> str | None:
    if {"prompt", "chosen", "rejected"} <= set(fields) and "chosen.from" not in fields:
        return None  # whatever other columns it has
    for name, alternatives in LAYOUTS:
        if any(all(any(fnmatchcase(field, pattern) for field in fields) for pattern in patterns) for patterns in alternatives):
            return f"this looks like {name}; {CONVERT}"
    outer = [field for field in fields if "." not in field]
    otherwise_named = "prompt" not in outer and not PROMPTS.isdisjoint(outer)
    if {"chosen", "rejected"} <= set(outer) and not otherwise_named:
        return None
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in (field[:40] for field in outer[:12]))
    return f"its records have {shown or 'no fields'}{' …' if len(outer) > 12 else ''}; name them prompt, chosen and rejected"


def _fields(record: Mapping[str, Any]) -> list[str]:
    found = list(record)
    for name, value in record.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, Mapping):
            found += [f"{name}.{key}" for key in inner]
    return found


def _first_value(text: str) -> Any:
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None
