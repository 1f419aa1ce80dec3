"""Replies as recruiters of the simulated world would write them, to start a language model on that knows nothing of it.

``python -m simulation demonstrations`` writes them for ``feedbackloop train --phase sft``; the demo and ``benchmarks.policy`` train on
them. They are drawn from the lists that people never chat about, half of them about invented names, so that facts are copied and not
memorised.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from simulation.checker import read
from simulation.corpus import draw_reply, invented_words
from simulation.world import Conversation, Message, conversation_about, draw_conversation

INVENTED = 0.5  # share of conversations about invented names, roles and employers


@dataclass(frozen=True)
class Demonstration:
    """A conversation whose earlier turns are answered, and the reply to its last one."""

    conversation: Conversation
    prompt: list[Message]
    reply: str


def draw_demonstrations(seed: int, count: int) -> Iterator[Demonstration]:
    """Draw ``count`` demonstrations; no reply states a wrong fact, a promise or an unlawful question."""
    rng = random.Random(f"demonstrations {seed}")
    for _ in range(count):
        subject = rng.random() < INVENTED
        conversation = conversation_about(rng, "sft", *invented_words(rng)) if subject else draw_conversation(rng, "sft")
        *earlier, last = answered(rng, conversation)
        yield Demonstration(conversation, conversation.prompt(earlier), last)


def answered(rng: random.Random, conversation: Conversation) -> list[str]:
    """A reply to every turn of ``conversation``."""
    replies = []
    for record in conversation.records:
        reply = draw_reply(rng, record)
        while (reading := read(record, reply)).wrong_facts or reading.unlawful:
            reply = draw_reply(rng, record)
        replies.append(reply)
    return replies
