"""The one split into training and evaluation, for every phase and every source of data.

A quarter of all conversations is set apart when it starts; its pairs are chosen uniformly and never train. Imported records have no
conversation id: their first user message takes its place, so that two turns of one dialogue never stand on both sides. The split is keyed,
because callers choose the ids of their conversations: without the key nobody can aim at a side. An event says its stratum, and keeps it.
"""

import hashlib
import hmac
from collections.abc import Sequence

from storage.events import Message, Stratum


def stratum_of(conversation_id: str, key: bytes = b"") -> Stratum:
    """``evaluation`` for one conversation in four, by HMAC-SHA-256 of its id under the installation's ``key``.

    Without a key (a file that is trained on without a loop, where nobody aims at anything) by SHA-256 of the id.
    """
    if key:
        digest = hmac.digest(key, f"stratum\x1f{conversation_id}".encode(), "sha256")
    else:
        digest = hashlib.sha256(conversation_id.encode()).digest()
    return "evaluation" if digest[0] % 4 == 0 else "training"


def conversation_of(prompt: Sequence[Message]) -> str:
    """The id of a prompt's conversation where none is given, from its first user message; from its first message if no user speaks."""
    first = next((message for message in prompt if message.role == "user"), prompt[0])
    return f"prompt-{hashlib.sha256(first.content.encode()).hexdigest()[:32]}"
