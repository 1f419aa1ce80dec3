"""The Stanford Human Preferences dataset: a post, two comments, and which one has more votes."""

from storage.errors import InputRefused
from trainers.data.layouts.layout import Layout, Record, conversation, of_two, reply, required
from trainers.data.preference import Preference


def read(record: Record) -> Preference:
    """``labels`` is 1 where ``human_ref_A`` is preferred, and 0 where ``human_ref_B`` is."""
    prompt = conversation(required(record, "history"), "history")
    first, second = (reply(required(record, name), prompt, name) for name in ("human_ref_A", "human_ref_B"))
    label = required(record, "labels")
    if label not in (0, 1):
        raise InputRefused(f"labels is {str(label)[:40]!r}; expected 0 or 1", "labels")
    return of_two(prompt, first, second, first_preferred=label == 1)


LAYOUT = Layout("SHP", (("human_ref_A", "human_ref_B"),), ("history", "human_ref_A", "human_ref_B", "labels"), read)
