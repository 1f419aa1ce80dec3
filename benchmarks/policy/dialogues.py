"""Prompts of simulated conversations, and pairs of a model's replies to them: what the trainings that are compared have in common."""

import random

from simulation.world import Record, World
from storage.events import Message, Sampling
from trainers.data.preference import Preference
from trainers.models.engine import generate
from trainers.models.policy import Policy

SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=96)
Prompt = tuple[Message, ...]


def dialogues(seed: int, count: int) -> dict[Prompt, Record]:
    """Distinct last turns of fresh conversations, with the hidden record behind each; earlier replies are a fixed sentence."""
    rng, world = random.Random(f"policy benchmark {seed}"), World(seed)
    found: dict[Prompt, Record] = {}
    while len(found) < count:
        conversation = world.conversation(rng)
        earlier = ["We will come back to you soon."] * (len(conversation.asks) - 1)
        found[tuple(Message.model_validate(message) for message in conversation.prompt(earlier))] = conversation.records[-1]
    return found


def comparisons(seed: int, count: int, policy: Policy) -> list[Preference]:
    """Two different replies of ``policy`` to each prompt; a coin says which one is preferred, since only time and equality are measured."""
    asked = list(dialogues(seed, 2 * count))
    one, other = (generate(policy, asked, SAMPLING, seed=2 * seed + k) for k in range(2))
    pairs = [(p, a, b) for p, a, b in zip(asked, one, other, strict=True) if a != b and a and b][:count]
    return [Preference.of_replies(*pair) for pair in pairs]
