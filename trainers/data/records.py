"""Reads preferences, ratings and demonstrations from files, and preferences from frozen snapshots.

The import reads its lines with :func:`parse_record` and the offline phases (``feedbackloop train --data FILE``) with
:func:`read_preferences`, so that a record means the same in both.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from storage.errors import DataRefused, InputRefused
from storage.texts.texts import PLAIN, Texts
from trainers.data.bad_lines import BadLine, BadLines
from trainers.data.demonstration import Demonstration
from trainers.data.files import Unreadable, column_names, is_parquet, rows
from trainers.data.hints import fields_of
from trainers.data.layouts import trl
from trainers.data.layouts.layout import Layout, Parsed
from trainers.data.layouts.table import recognised
from trainers.data.preference import Preference
from trainers.data.rating import Rating


def parse_record(line: str | bytes | Mapping[str, Any], layout: Layout = trl.LAYOUT) -> Preference:
    """One preference record, from a line of JSON or from a row of a table, in a layout of ``trainers.data.layouts``.

    Raises
    ------
    InputRefused
        Names the invalid field and the reason.
    """
    found = _parsed(line, layout)
    if not isinstance(found, Preference):
        raise InputRefused(f"expected a preference, not {layout.name}")
    return found


def _parsed(line: str | bytes | Mapping[str, Any], layout: Layout) -> Parsed:
    if isinstance(line, str | bytes):
        line = _json(line)
    if not isinstance(line, Mapping):
        raise InputRefused(f"expected an object with {layout.name}, not a value of type {type(line).__name__}")
    return layout.read(line)


def layout_of(path: Path) -> Layout:
    """The layout of a file, detected from its first record; TRL's if none is recognised.

    Raises
    ------
    ConfigurationError
        The file does not exist or cannot be read in its format.
    """
    if is_parquet(path):
        return recognised(column_names(path)) or trl.LAYOUT
    for _, row in rows(path):
        try:
            record = _json(row) if isinstance(row, bytes) else row
        except InputRefused:
            continue
        if isinstance(record, Mapping):
            return recognised(fields_of(record)) or trl.LAYOUT
    return trl.LAYOUT


def _json(line: str | bytes) -> Any:
    """Parse a line. Values that orjson rejects and Python accepts (NaN, huge numbers, lone surrogates) may occur in unused columns."""
    line = line.strip()
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(line if isinstance(line, str) else line.decode(), parse_int=_integer)
        except (ValueError, RecursionError):
            raise InputRefused(f"not JSON in UTF-8: {error.msg} (column {error.colno})") from error


def _integer(digits: str) -> float:
    """Parse long numbers as floats: Python refuses integers of thousands of digits."""
    return int(digits) if len(digits) < 20 else float(digits)


def read_records(path: Path) -> Iterator[tuple[int, Preference | BadLine]]:
    """Yield every preference of a file with its line or row number, bad ones in place. The first record determines the layout.

    Raises
    ------
    ConfigurationError
        The file does not exist or cannot be read in its format.
    DataRefused
        Its records are not preferences.
    """
    require_preferences(path)
    for number, item in _items(path):
        assert isinstance(item, Preference | BadLine)
        yield number, item


def _items(path: Path) -> Iterator[tuple[int, Parsed | BadLine]]:
    layout = layout_of(path)
    for number, row in rows(path, layout.columns):
        try:
            if isinstance(row, Unreadable):
                raise InputRefused(str(row))
            yield number, _parsed(row, layout)
        except InputRefused as error:
            yield number, BadLine(number, str(error))


@dataclass(frozen=True)
class Records:
    """The records of a file or snapshot in order, its invalid lines, and the layout's name."""

    bad: BadLines
    layout: str = "a snapshot"
    preferences: tuple[Preference, ...] = ()
    ratings: tuple[Rating, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()


def read_file(path: Path) -> Records:
    """The records of a JSONL, JSON, CSV (gzipped or not) or Parquet file: preferences, ratings or demonstrations.

    Raises
    ------
    ConfigurationError
        There is nothing readable at ``path``.
    DataRefused
        None of its lines is a record; the message gives the first reasons.
    """
    bad, layout = BadLines(path), layout_of(path)
    preferences, ratings, demonstrations = list[Preference](), list[Rating](), list[Demonstration]()
    for _, item in _items(path):
        match item:
            case BadLine():
                bad.add(item)
            case Preference():
                preferences.append(item)
            case Rating():
                ratings.append(item)
            case _:
                demonstrations += item
    if not preferences and not ratings and not demonstrations:
        raise bad.all_refused()
    return Records(bad, layout.name, tuple(preferences), tuple(ratings), tuple(demonstrations))


def read_preferences(path: Path, texts: Texts = PLAIN) -> Records:
    """The preferences of a file, or of a snapshot's folder, whose texts ``texts`` opens.

    Raises
    ------
    ConfigurationError
        There is nothing readable at ``path``.
    DataRefused
        None of its lines is a preference record.
    """
    if path.is_dir():
        from storage.snapshots.snapshot import open_snapshot
        from trainers.data.snapshots import preferences_of

        return Records(BadLines(path), preferences=tuple(preferences_of(open_snapshot(path, texts))))
    require_preferences(path)
    return read_file(path)


def require_preferences(path: Path) -> None:
    """Refuse a file of other records.

    Raises
    ------
    DataRefused
        Its records are single replies with labels, or demonstrations.
    """
    layout = layout_of(path)
    if layout.holds != "preferences":
        phase = {"ratings": "kto", "demonstrations": "sft"}[layout.holds]
        raise DataRefused(
            f"{path}: its records are {layout.holds} ({layout.name}), and preferences are needed: prompt, chosen and rejected. "
            f"`feedbackloop train --phase {phase}` trains on {layout.holds}"
        )
