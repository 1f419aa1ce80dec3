"""The one split into training and evaluation, for every phase and every source of data.

A quarter of all conversations is set apart when it starts; its pairs are chosen uniformly and never train. Imported records have no
conversation: their prompt takes its place, so that two records of one prompt never stand on both sides.
"""

import hashlib
from collections.abc import Sequence

from storage.events import Message, Stratum


def stratum_of(conversation_id: str) -> Stratum:
    """``evaluation`` for one conversation in four, by SHA-256 of its id."""
    digest = hashlib.sha256(conversation_id.encode()).digest()
    return "evaluation" if digest[0] % 4 == 0 else "training"


def conversation_of(prompt: Sequence[Message]) -> str:
    """The id that stands for a prompt's conversation where the record names none: the same prompt, the same id."""
    text = "\x1e".join(f"{message.role}\x1f{message.content}" for message in prompt)
    return f"prompt-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
