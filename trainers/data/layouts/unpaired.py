"""TRL's unpaired preferences, and what this project exports as ratings: prompt, completion and label."""

from storage.errors import InputRefused
from trainers.data.layouts.layout import Layout, Record, conversation, reply, required
from trainers.data.rating import Rating

COLUMNS = ("prompt", "completion", "label")

_LABELS = {"true": True, "1": True, "false": False, "0": False}  # CSV has no booleans


def read(record: Record) -> Rating:
    """``label`` is true or 1 for a good reply, and false or 0 for a bad one."""
    prompt = conversation(required(record, "prompt"), "prompt")
    label = _LABELS.get(str(required(record, "label")).lower())
    if label is None:
        raise InputRefused(f"label is {str(record['label'])[:40]!r}; expected true or false", "label")
    return Rating.of_reply(prompt, reply(required(record, "completion"), prompt, "completion"), label)


LAYOUT = Layout("prompt, completion and label", (COLUMNS,), COLUMNS, read, holds="ratings")
