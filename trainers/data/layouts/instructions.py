"""Instructions with responses to imitate, in Dolly's, Alpaca's and TRL's columns."""

from storage.events import Message
from trainers.data.demonstration import Demonstration
from trainers.data.layouts.layout import Layout, Record, conversation, reply, required

PROMPTS, CONTEXTS, REPLIES = ("instruction", "prompt"), ("context", "input"), ("response", "output", "completion")


def read(record: Record) -> tuple[Demonstration, ...]:
    """The instruction, behind the context where there is one, is the user's message; a ``prompt`` may be a list of messages."""
    asked = next((name for name in PROMPTS if record.get(name) is not None), PROMPTS[0])
    answered = next((name for name in REPLIES if record.get(name) is not None), REPLIES[0])
    prompt = conversation(required(record, asked), asked)
    context = next((str(record[name]).strip() for name in CONTEXTS if record.get(name)), "")
    if context:
        prompt = (*prompt[:-1], Message(role=prompt[-1].role, content=f"{context}\n\n{prompt[-1].content}"))
    return (Demonstration.of_reply(prompt, reply(required(record, answered), prompt, answered)),)


LAYOUT = Layout(
    "instructions with responses",
    (("instruction", "response"), ("instruction", "output"), ("prompt", "completion"), ("prompt", "response")),
    (*PROMPTS, *CONTEXTS, *REPLIES),
    read,
    holds="demonstrations",
)
