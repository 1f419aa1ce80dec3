"""Judgments of a simulated world for a training, and what the truth says of the policy that came of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.simulated import SAMPLING, Plan, simulate
from simulation.checker import Reading
from simulation.world import Conversation, World
from storage.events import Message
from storage.settings import Common, Settings
from trainers.features.embedder import Embedder
from trainers.features.settings import FeatureSettings
from trainers.models.engine import generate
from trainers.models.policy import Policy, load_policy
from trainers.policy.methods import method
from trainers.policy.train import train
from trainers.policy.training import Trained, TrainingInputs
from trainers.runs.data import RunData


def judged(seed: int, world: World, judgments: int, folder: Path, policy: Policy | None = None) -> RunData:
    """``judgments`` of the training stratum, and the evaluation stratum's, on pairs of ``policy``; by default of the shipped model."""
    folder.mkdir(parents=True)
    plan = Plan(judgments, minimum_prompts=10)
    served = policy or load_policy("shipped")
    snapshot, _ = simulate(seed, world, plan, served, Embedder.load(FeatureSettings()), folder, lambda said: None)
    return RunData.read(snapshot)


def trained(name: str, data: RunData, folder: Path) -> Trained:
    """The shipped model trained on ``data`` by the method of this name, with its default settings."""
    row = method(name)
    return train(row, TrainingInputs.of("shipped", data, row.settings(), Settings(Common(), {}), folder, lambda *said: None))


@dataclass(frozen=True)
class Fresh:
    """First turns of conversations with names, roles, employers and questions that no training has seen."""

    conversations: Sequence[Conversation]

    @classmethod
    def draw(cls, world: World, stream: str, count: int) -> "Fresh":
        """``count`` conversations of the random stream of that name."""
        rng = random.Random(stream)
        return cls([world.conversation(rng, "held_out", turns=1) for _ in range(count)])

    @property
    def prompts(self) -> list[tuple[Message, ...]]:
        return [tuple(Message.model_validate(message) for message in each.prompt()) for each in self.conversations]

    def replies(self, policy: Policy, seed: int) -> list[str]:
        """One reply to each, at temperature 1; with common random numbers for every policy."""
        return generate(policy, self.prompts, SAMPLING, seed=seed)

    def readings(self, world: World, replies: Sequence[str]) -> list[Reading]:
        """What the ground-truth parser finds in them."""
        return [world.read(each.records[0], reply) for each, reply in zip(self.conversations, replies, strict=True)]

    def utilities(self, world: World, replies: Sequence[str]) -> np.ndarray:
        """The world's taste of each reply, ``(n,)``."""
        return np.array([world.true_utility(each.records[0], reply) for each, reply in zip(self.conversations, replies, strict=True)])


def win_rate(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of prompts on which ours is worth more; ties count half."""
    return float(np.mean((ours > theirs) + 0.5 * (ours == theirs)))
