"""How an event of an older version becomes one of the next: what was written once stays readable for ever.

A changed event model gets the next ``schema_version``, an entry here, and an example under ``tests/storage/released``. Readers are upgraded
before writers: a reader that meets a version above its own stops and says so.
"""

from collections.abc import Callable
from typing import Any

Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]

# (kind, version) → the fields of that kind's next version. A function gets a copy that it may change.
UPCASTERS: dict[tuple[str, int], Upcaster] = {
    ("PairDrawn", 1): lambda fields: fields,  # any identifier may say how a pair was drawn
    ("RewardUpdated", 1): lambda fields: fields | {"judged_at": None},
    ("TrainingProgress", 1): lambda fields: fields | {"artifacts": {}},
    ("TrainingRequested", 1): lambda fields: fields | {"settings": None},  # and any may name a method
}


def upcast(fields: Fields, version: int, newest: int) -> Fields:
    """The fields as ``newest`` has them; ``fields`` themselves are not changed."""
    for older in range(version, newest):
        fields = UPCASTERS[fields["kind"], older](dict(fields)) | {"schema_version": older + 1}
    return fields
