"""Records that a Python program already holds: a list of them, or a ``datasets.Dataset``."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from storage.errors import DataRefused, InputRefused
from storage.events import Stratum
from trainers.data.bad_lines import BadLine, BadLines
from trainers.data.demonstration import Demonstration
from trainers.data.hints import fields_of
from trainers.data.layouts import trl
from trainers.data.layouts.table import recognised
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.data.records import Records

Dataset = str | Path | Iterable[Mapping[str, Any] | Preference | Rating | Demonstration]


def records_of(dataset: Iterable[Any], stratum: Stratum | None = None) -> Records:
    """The records of a list or of a ``datasets.Dataset``, in any layout that a file may have.

    Parameters
    ----------
    stratum : what all records are for; None splits them by prompt, as a file's

    Raises
    ------
    DataRefused
        There is none, or one is invalid; the message names it.
    """
    bad, layout = BadLines(Path("the dataset")), None
    preferences, ratings, demonstrations = list[Preference](), list[Rating](), list[Demonstration]()
    for number, record in enumerate(dataset):
        if isinstance(record, Mapping):
            layout = layout or recognised(fields_of(record)) or trl.LAYOUT
            try:
                record = layout.read(record)
            except InputRefused as error:
                bad.add(BadLine(number, str(error)))
                continue
        for each in record if isinstance(record, tuple) else (record,):
            found = each if stratum is None else replace(each, stratum=stratum)
            match found:
                case Preference():
                    preferences.append(found)
                case Rating():
                    ratings.append(found)
                case Demonstration():
                    demonstrations.append(found)
                case _:
                    raise DataRefused(f"record {number} is a {type(found).__name__}; give mappings, such as {{'prompt': …}}")
    if bad.count:
        lines = "; ".join(f"record {line.number}: {line.reason}" for line in bad.first[:5])
        raise DataRefused(f"{bad.count} records cannot be read: {lines}")
    if not preferences and not ratings and not demonstrations:
        raise DataRefused("the dataset is empty")
    name = layout.name if layout is not None else "records"
    return Records(bad, name, tuple(preferences), tuple(ratings), tuple(demonstrations))


def digest_of_records(records: Records) -> str:
    """SHA-256 of the records' content."""
    found = hashlib.sha256()
    everything: list[Preference | Rating | Demonstration] = [*records.preferences, *records.ratings, *records.demonstrations]
    for each in everything:
        texts = [message.content for message in each.prompt]
        match each:
            case Preference():
                texts += [each.digest, str(each.choice), each.stratum]
            case Rating():
                texts += [each.reply, str(each.good), each.stratum]
            case Demonstration():
                texts += [each.reply, each.stratum]
        found.update("\x1e".join(texts).encode() + b"\x1d")
    return found.hexdigest()
