"""The preference format of OpenAI's and Azure OpenAI's fine-tuning: input.messages, preferred_output, non_preferred_output."""

from collections.abc import Mapping

from storage.errors import InputRefused
from trainers.data.layouts.layout import Layout, Record, conversation, needed, preferred, reply
from trainers.data.preference import Preference


def read(record: Record) -> Preference:
    """``input`` holds the messages, each output a list that ends with the assistant's message."""
    given = needed(record, "input")
    if not isinstance(given, Mapping):
        raise InputRefused(f"input is a {type(given).__name__}; expected an object with messages", "input")
    prompt = conversation(given.get("messages") or [], "input.messages")
    chosen, rejected = (reply(needed(record, name), prompt, name) for name in ("preferred_output", "non_preferred_output"))
    return preferred(prompt, chosen, rejected)


COLUMNS = ("input", "preferred_output", "non_preferred_output")
LAYOUT = Layout("OpenAI's preference format", (COLUMNS[1:],), COLUMNS, read)
