"""Reads preferences from files of records and from frozen snapshots.

The import reads its lines with :func:`parse_record` and the offline phases (``feedbackloop train --data FILE``) with
:func:`read_preferences`, so that a record means the same in both.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from storage.errors import InputRefused
from trainers.data.bad_lines import BadLine, BadLines
from trainers.data.files import Unreadable, column_names, is_parquet, rows
from trainers.data.hints import fields_of
from trainers.data.layouts import trl
from trainers.data.layouts.layout import Layout
from trainers.data.layouts.table import recognised
from trainers.data.preference import Preference


def parse_record(line: str | bytes | Mapping[str, Any], layout: Layout = trl.LAYOUT) -> Preference:
    """One preference record, from a line of JSON or from a row of a table, in a layout of ``trainers.data.layouts``.

    Raises
    ------
    InputRefused
        Names the invalid field and the reason.
    """
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
    """Yield every record of a file with its line or row number, bad ones in place. The first record determines the layout.

    Raises
    ------
    ConfigurationError
        The file does not exist or cannot be read in its format.
    """
    layout = layout_of(path)
    for number, row in rows(path, layout.columns):
        try:
            if isinstance(row, Unreadable):
                raise InputRefused(str(row))
            yield number, parse_record(row, layout)
        except InputRefused as error:
            yield number, BadLine(number, str(error))


@dataclass(frozen=True)
class PreferenceData:
    """The preferences of a file or snapshot in order, its invalid lines, and the layout's name."""

    preferences: tuple[Preference, ...]
    bad: BadLines
    layout: str = "a snapshot"


def read_preferences(path: Path) -> PreferenceData:
    """The preferences of a JSONL, JSON, CSV (gzipped or not) or Parquet file, or of a snapshot's folder.

    Raises
    ------
    ConfigurationError
        There is nothing readable at ``path``.
    DataRefused
        None of its lines is a preference record; the message gives the first reasons.
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
    return PreferenceData(tuple(preferences), bad, layout_of(path).name)
