"""PKU-SafeRLHF: two responses and the number of the better one."""

from storage.errors import InputRefused
from trainers.data.layouts.layout import Layout, Record, conversation, of_two, reply, required
from trainers.data.preference import Preference


def read(record: Record) -> Preference:
    """``better_response_id`` is 0 or 1. The safety labels are not read."""
    prompt = conversation(required(record, "prompt"), "prompt")
    first, second = (reply(required(record, name), prompt, name) for name in ("response_0", "response_1"))
    better = required(record, "better_response_id")
    if better not in (0, 1):
        raise InputRefused(f"better_response_id is {str(better)[:40]!r}; expected 0 or 1", "better_response_id")
    return of_two(prompt, first, second, first_preferred=better == 0)


COLUMNS = ("prompt", "response_0", "response_1", "better_response_id")
LAYOUT = Layout("PKU-SafeRLHF", (("response_0", "response_1", "better_response_id"),), COLUMNS, read)
