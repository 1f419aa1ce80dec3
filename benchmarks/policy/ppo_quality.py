"""Does our PPO earn as much reward as TRL's at the same divergence from the base model?

Both train on the shipped model, against the same classifier of a fresh world, with equal batches, lengths and epochs; each at the learning
rate that served it best in worlds of other seeds. After every step the policy replies to prompts that it never trains on, with random
numbers that both sides have in common. The reward is compared at .8 of the smaller final KL, between checkpoints by a straight line over
the root of the KL, in standard deviations of the base model's rewards.
"""

import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t

from benchmarks.figures import Figure
from benchmarks.policy.classifier import Classifier, fit_classifier
from benchmarks.policy.dialogues import SAMPLING, Prompt, dialogues
from benchmarks.policy.ppo_sides import Ours, theirs
from trainers.audits.policy.kl_budget import kl
from trainers.models.engine import generate
from trainers.models.policy import Policy, load_policy
from trainers.policy.ppo_settings import PPOSettings
from trainers.policy.workarounds import keep_freed_memory

FIRST_SEED, SEEDS, STEPS = 10_000, 5, 12
FITTED, TRAINED, WATCHED = 768, 512, 128  # replies for the classifier, prompts to train on, and prompts to compare on
THEIR_LEARNING_RATE = 1e-3
SHARE = 0.8


@dataclass(frozen=True)
class Curve:
    """KL from the base in nats a reply, and mean reward, at the base and after each step."""

    kl: tuple[float, ...]
    reward: tuple[float, ...]

    def at(self, divergence: float) -> float:
        """The reward where the KL first reaches ``divergence``."""
        after = next(i for i, each in enumerate(self.kl) if each >= divergence)
        if not after:
            return self.reward[0]
        low, high, wanted = (math.sqrt(max(each, 0.0)) for each in (self.kl[after - 1], self.kl[after], divergence))
        share = (wanted - low) / (high - low)
        return (1 - share) * self.reward[after - 1] + share * self.reward[after]


def figures(quick: bool) -> Sequence[Figure]:
    """The difference in reward, and its lower bound over seeds."""
    torch.set_num_threads(1)
    keep_freed_memory()
    differences, divergences, gains = [], [], []
    for seed in range(FIRST_SEED, FIRST_SEED + (2 if quick else SEEDS)):
        started = time.monotonic()
        ours, other = curves(seed, 3 if quick else STEPS)
        where = SHARE * min(ours.kl[-1], other.kl[-1])
        differences.append(ours.at(where) - other.at(where))
        divergences.append(where)
        gains.append(ours.at(where) - ours.reward[0])
        sys.stderr.write(
            f"ppo_quality, seed {seed}: {ours.at(where):.2f} and {other.at(where):.2f} at {where:.2f} nats, "
            f"finally {ours.kl[-1]:.1f} and {other.kl[-1]:.1f} ({time.monotonic() - started:.0f} s)\n"
        )
    found = np.array(differences)
    width = float(t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / len(found) ** 0.5)
    mean = float(found.mean())
    about = f"deviations of the reward; gain {np.mean(gains):.2f} at {np.mean(divergences):.2f} nats, {len(found)} seeds"
    return [
        Figure("ppo_reward_difference", mean, mean - width, mean + width, about),
        Figure("ppo_reward_difference_low", mean - width, None, None, "lower bound of the 95 % interval", ">=-0.05"),
    ]


def curves(seed: int, steps: int, their_rate: float = THEIR_LEARNING_RATE) -> tuple[Curve, Curve]:
    """Train both sides; return our curve and theirs."""
    settings = PPOSettings(steps=steps, seed=seed)
    known = list(dialogues(seed + 500_000, TRAINED + WATCHED))
    trained, watched = known[:TRAINED], known[TRAINED:]
    base = load_policy("shipped")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        reward = fit_classifier(seed, FITTED, folder / "classifier")
        mine = Ours(trained, reward, settings, folder / "ours")
        for _ in range(steps):
            mine.steps(1)
        at_their_rate = settings.model_copy(update={"learning_rate": their_rate})
        with theirs(trained, reward, at_their_rate, folder / "trl", without_gc=True, save=folder / "theirs") as other:
            for _ in range(steps):
                other.steps(1)
        classifier = Classifier(reward, base)
        deviation = float(classifier([*zip(watched, _replies(base, watched), strict=True)]).std())
        return (
            _curve(folder / "ours", steps, base, watched, classifier, deviation),
            _curve(folder / "theirs", steps, base, watched, classifier, deviation),
        )


def _curve(folder: Path, steps: int, base: Policy, prompts: Sequence[Prompt], classifier: Classifier, deviation: float) -> Curve:
    divergences, rewards = [], []
    for step in range(steps + 1):
        policy = load_policy("shipped", folder / f"step-{step}") if step else base
        replies = _replies(policy, prompts)
        divergences.append(kl(policy, base, prompts, replies).per_reply.figure if step else 0.0)
        rewards.append(float(classifier([*zip(prompts, replies, strict=True)]).mean()) / deviation)
    return Curve(tuple(divergences), tuple(rewards))


def _replies(policy: Policy, prompts: Sequence[Prompt]) -> list[str]:
    return generate(policy, prompts, SAMPLING, seed=1)
