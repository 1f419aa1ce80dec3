"""Your own reward: any Python function of prompts and replies trains a model by PPO, here the shipped one on a CPU in a minute.

    python examples/own_reward.py out

The function below likes short replies that ask something back. Nobody has judged anything: a function needs no judgments, and nothing but
the KL penalty keeps the policy near the model that it started from.
"""

import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from feedbackloop import RLHFConfig, RLHFTrainer
from storage.events import Message
from trainers.features.embedding import Item

FACTS = """Answer the candidate by these facts.
Candidate: {name}
Role: Night Porter
Employer: Brightwater Inn
Stage: screening
Free slots: {day} 10:00; Friday 14:00
Next news: by Thursday
Asked about: interview"""
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday")
QUESTIONS = ("When is my interview?", "What times are free?", "Can we find a time to meet?", "I would like to book my interview, please.")
NAMES = ("Emma", "Luke", "Holly", "Cody")


def reward(items: Sequence[Item]) -> list[float]:
    """1 for a question at the end or within, less 1 for each 40 words."""
    return [float("?" in reply) - len(reply.split()) / 40 for _, reply in items]


def prompts() -> list[tuple[Message, ...]]:
    """64 questions of candidates, each with the facts that a reply may state."""
    return [
        (Message(role="system", content=FACTS.format(name=name, day=day)), Message(role="user", content=question))
        for name, day, question in product(NAMES, DAYS, QUESTIONS)
    ]


def train(out: Path, epochs: int = 8) -> list[float]:
    """Train into ``out``, print each step, and return the mean reward of each."""
    rewards: list[float] = []

    def show(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
        rewards.append(metrics["reward"])
        print(f"step {step:2d} of {steps}: reward {metrics['reward']:.2f}, KL {metrics['kl']:.2f} nats, {metrics['length']:.0f} tokens")

    config = RLHFConfig(algorithm="ppo", learning_rate=2e-3, batch_size=64, ppo_epochs=2, num_epochs=epochs, output_dir=out)
    result = RLHFTrainer(config=config, reward=reward).train(prompts(), progress=show)
    print(f"the adapter is in {result.adapter}; chat with it: FEEDBACKLOOP_MODEL={result.adapter} feedbackloop up")
    return rewards


if __name__ == "__main__":
    train(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
