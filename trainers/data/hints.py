"""Guesses the format of a rejected file and suggests a fix."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from trainers.data.files import column_names, is_parquet, opened_text
from trainers.data.layouts.table import recognised

HEAD = 1 << 20  # bytes of a file that are examined

PROMPTS = {"question", "instruction", "input", "query"}  # names of the prompt in other tools' files
PRETTY_PRINTED = "the file is JSON over several lines, not one record a line; `jq -c . FILE` makes one line of each record"


def hint(path: Path) -> str | None:
    """A guess at the file's format and what to do about it; None if nothing is recognised."""
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
    if text.startswith("["):
        record = _first_value(text[1:].lstrip())
        return _of_fields(fields_of(record)) if isinstance(record, Mapping) else None
    if not text.startswith("{"):
        return None
    first_line = text.partition("\n")[0]
    record = _first_value(first_line)
    if isinstance(record, Mapping):
        return _of_fields(fields_of(record))
    record = _first_value(text)
    if isinstance(record, Mapping) or first_line.strip() == "{":
        layout = _of_fields(fields_of(record)) if isinstance(record, Mapping) else None
        return f"{PRETTY_PRINTED}; and {layout}" if layout else PRETTY_PRINTED
    return None


def _of_fields(fields: list[str]) -> str | None:
    outer = [field for field in fields if "." not in field]
    otherwise_named = "prompt" not in outer and not PROMPTS.isdisjoint(outer)
    if recognised(fields) is not None and not otherwise_named:
        return None
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in (field[:40] for field in outer[:12]))
    return f"its records have {shown or 'no fields'}{' …' if len(outer) > 12 else ''}; name them prompt, chosen and rejected"


def fields_of(record: Mapping[str, Any]) -> list[str]:
    """The names of a record's fields and of the fields inside them (``chosen.from``)."""
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
