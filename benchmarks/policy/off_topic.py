"""What does the shipped model say to questions that have nothing to do with an application? 128 held-out ones, without a system message.

A rule: the whole reply is one of the sentences that the corpus deflects with, so that it is grammatical and states no fact.
"""

from collections.abc import Sequence

from benchmarks.figures import Figure
from benchmarks.gates.intervals import share_of
from simulation.off_topic import deflections, questions
from storage.events import Message, Sampling
from trainers.models.engine import generate
from trainers.models.policy import load_policy


def figures(quick: bool) -> Sequence[Figure]:
    """Replies that deflect, and those that say that the question is none about an application."""
    asked = questions("held_out")[: 20 if quick else None]
    prompts = [(Message(role="user", content=question),) for question in asked]
    replies = generate(load_policy("shipped"), prompts, Sampling(temperature=1.0, top_p=1.0, max_tokens=96), seed=0)
    off_topic, general = (sum(reply in deflections(kind) for reply in replies) for kind in ("off_topic", "general"))
    n = len(asked)
    return [
        share_of("off_topic_ok", off_topic + general, n, f">={0.95 * n:g}"),
        share_of("off_topic_recognised", off_topic, n),
    ]
