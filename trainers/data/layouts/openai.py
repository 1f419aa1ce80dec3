"""The preference format of OpenAI's and Azure OpenAI's fine-tuning: input.messages, preferred_output, non_preferred_output."""

from collections.abc import Mapping

from storage.errors import InputRefused
from trainers.data.layouts.layout import Layout, Record, conversation, preferred, reply, required
from trainers.data.preference import Preference


def read(record: Record) -> Preference:
    """``input`` holds the messages, each output a list that ends with the assistant's message."""
    input_object = required(record, "input")
    if not isinstance(input_object, Mapping):
        raise InputRefused(f"input is a {type(input_object).__name__}; expected an object with messages", "input")
    prompt = conversation(input_object.get("messages") or [], "input.messages")
    chosen, rejected = (reply(required(record, name), prompt, name) for name in ("preferred_output", "non_preferred_output"))
    return preferred(prompt, chosen, rejected)


COLUMNS = ("input", "preferred_output", "non_preferred_output")
LAYOUT = Layout("OpenAI's preference format", (COLUMNS[1:],), COLUMNS, read)
