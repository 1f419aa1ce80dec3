"""Does our PPO earn as much reward as TRL's at the same divergence from the base model?

Both train on the shipped model, against the same classifier of a fresh world, with equal batches, lengths and epochs, each at the better
of two learning rates in a world of another seed. After every step the policy replies to prompts that it never trains
on, with random numbers that both sides have in common. The reward is compared at .8 of the smaller final KL, between checkpoints by a
straight line over the root of the KL, in standard deviations of the base model's rewards.
"""

import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
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
TUNING_SEED, LEARNING_RATES = 3, (1e-3, 2e-3)  # at 3e-4 TRL's moves by .1 nats in all
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
    steps = 3 if quick else STEPS
    our_rate, their_rate = _best_rates(steps)
    differences, divergences, gains = [], [], []
    for seed in range(FIRST_SEED, FIRST_SEED + (2 if quick else SEEDS)):
        started = time.monotonic()
        with _contest(seed, steps) as contest:
            ours, other = contest.ours(our_rate), contest.theirs(their_rate)
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
        Figure("ppo_reward_difference", mean, mean - width, mean + width, f"{about}; learning rates {our_rate:g} and {their_rate:g}"),
        Figure("ppo_reward_difference_low", mean - width, None, None, "lower bound of the 95 % interval", ">=-0.05"),
    ]


def _best_rates(steps: int) -> tuple[float, float]:
    """The rates that earn our side and TRL's the most at the same KL, in a world of its own."""
    with _contest(TUNING_SEED, steps) as contest:
        sides = [{rate: train(rate) for rate in LEARNING_RATES} for train in (contest.ours, contest.theirs)]
    where = SHARE * min(curve.kl[-1] for side in sides for curve in side.values())
    ours, other = ({rate: curve.at(where) for rate, curve in side.items()} for side in sides)
    sys.stderr.write(f"ppo_quality, rewards at {where:.2f} nats by learning rate: {ours} and {other}\n")
    return max(ours, key=lambda rate: ours[rate]), max(other, key=lambda rate: other[rate])


@dataclass(frozen=True)
class Contest:
    """The world of one seed: its reward, prompts to train on, and prompts to compare on."""

    folder: Path
    settings: PPOSettings
    reward: Path
    trained: Sequence[Prompt]
    watched: Sequence[Prompt]
    base: Policy

    def ours(self, rate: float) -> Curve:
        """Train our side."""
        settings, folder = self.settings.model_copy(update={"learning_rate": rate}), self.folder / f"ours-{rate:g}"
        side = Ours(self.trained, self.reward, settings, folder)
        for _ in range(settings.steps):
            side.steps(1)
        return self._curve(folder)

    def theirs(self, rate: float) -> Curve:
        """Train TRL's side."""
        settings, folder = self.settings.model_copy(update={"learning_rate": rate}), self.folder / f"theirs-{rate:g}"
        with theirs(self.trained, self.reward, settings, folder, without_gc=True, save=folder) as side:
            for _ in range(settings.steps):
                side.steps(1)
        return self._curve(folder)

    def _curve(self, folder: Path) -> Curve:
        classifier = Classifier(self.reward, self.base)
        divergences, rewards = [0.0], [classifier([*zip(self.watched, _replies(self.base, self.watched), strict=True)])]
        for step in range(1, self.settings.steps + 1):
            policy = load_policy("shipped", folder / f"step-{step}")
            replies = _replies(policy, self.watched)
            divergences.append(kl(policy, self.base, self.watched, replies).per_reply.figure)
            rewards.append(classifier([*zip(self.watched, replies, strict=True)]))
        deviation = float(rewards[0].std())
        return Curve(tuple(divergences), tuple(float(each.mean()) / deviation for each in rewards))


@contextlib.contextmanager
def _contest(seed: int, steps: int) -> Iterator[Contest]:
    known = list(dialogues(seed + 500_000, TRAINED + WATCHED))
    with tempfile.TemporaryDirectory() as scratch:
        reward = fit_classifier(seed, FITTED, Path(scratch) / "classifier")
        settings = PPOSettings(steps=steps, seed=seed)
        yield Contest(Path(scratch), settings, reward, known[:TRAINED], known[TRAINED:], load_policy("shipped"))


def _replies(policy: Policy, prompts: Sequence[Prompt]) -> list[str]:
    return generate(policy, prompts, SAMPLING, seed=1)
