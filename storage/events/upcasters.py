"""Upcasters from each schema version to the next, so that every released version stays readable.

A changed event model gets the next ``schema_version``, an entry here, and an example under ``tests/storage/released``. Upgrade readers
before writers: a reader that meets a version above its own stops with an error.
"""

from collections.abc import Callable
from typing import Any

Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]

# (kind, version) → function from the fields to those of the next version; it may modify its argument.
UPCASTERS: dict[tuple[str, int], Upcaster] = {
    ("EventQuarantined", 1): lambda fields: _without(fields, "payload"),
    ("GroupsRecorded", 1): lambda fields: fields,  # v2: groups may be sealed
    ("JudgmentGiven", 1): lambda fields: fields,  # v2, as the next version of each kind with texts or vectors: they may be sealed
    ("ModelPromoted", 1): lambda fields: fields | {"record": None},
    ("PairDrawn", 1): lambda fields: fields,  # v2: drawn is any identifier
    ("PairDrawn", 2): lambda fields: fields | {"arm": "uniform", "priority": 0, "opinions": None},
    ("PairDrawn", 3): lambda fields: fields,
    ("PairEmbedded", 1): lambda fields: fields,
    ("PersonErased", 1): lambda fields: fields | {"cause": "request"},
    ("PreferenceJoined", 1): lambda fields: _with_judgment_of_version_2(fields),
    ("ReplySent", 1): lambda fields: fields,  # v2: its sampling has best_of, 1 by default
    ("ReplySent", 2): lambda fields: fields,  # v3: its sampling has penalties, 0 by default, and may lack what an upstream chose
    ("ReplySent", 3): lambda fields: fields | {"prompt_key": None},
    ("ResponseEdited", 1): lambda fields: fields,
    ("ResponseRated", 1): lambda fields: fields,  # v2: a score or a comment instead of a thumb, or none; the conversation may be absent
    ("ResponseRated", 2): lambda fields: fields,
    ("RewardUpdated", 1): lambda fields: fields | {"judged_at": None},
    ("TrainingProgress", 1): lambda fields: fields | {"artifacts": {}},
    ("TrainingRequested", 1): lambda fields: fields | {"settings": None},  # v2: method is any identifier
    ("TrainingRequested", 2): lambda fields: fields | {"requested_by": None},
}


def _with_judgment_of_version_2(fields: Fields) -> Fields:
    judgment = fields.get("judgment")
    if isinstance(judgment, dict) and judgment.get("schema_version") == 1:
        return fields | {"judgment": judgment | {"schema_version": 2}}
    return fields  # refused as it is


def _without(fields: Fields, name: str) -> Fields:
    return {each: value for each, value in fields.items() if each != name}


def upcast(fields: Fields, version: int, newest: int) -> Fields:
    """Upcast ``fields`` from ``version`` to ``newest``; the argument is not modified."""
    for older in range(version, newest):
        fields = UPCASTERS[fields["kind"], older](dict(fields)) | {"schema_version": older + 1}
    return fields
