"""From judgments to a better recruiting chatbot: recruiters compare two replies, DPO learns from them. On a CPU in a minute.

    python -m examples.recruiting_chatbot out
    python -m examples.recruiting_chatbot out --model Qwen/Qwen2.5-0.5B-Instruct --data judgments.jsonl --rewrites rewrites.jsonl

Without ``--data`` the candidates, their questions and the recruiters are **simulated**: twelve invented recruiters of ``simulation``, each
with a taste of its own, judge replies of the shipped model. Nothing that is measured on them says anything about people.

``--data`` is a file of comparisons, such as ``feedbackloop export`` writes: prompt, chosen and rejected. With ``--rewrites``, a file of
conversations as they should have gone, the model first imitates those (SFT), and DPO starts from there.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feedbackloop import RLHFConfig, RLHFTrainer
from simulation.recruiters import Side, draw_recruiters
from simulation.world import Conversation, World
from storage.events import Message, Sampling
from trainers.models.engine import generate
from trainers.models.policy import load_policy

SAMPLING = Sampling(temperature=1.0, max_tokens=96)
RECRUITERS = 12
SIDES: tuple[Side, Side] = ("A", "B")
Prompt = tuple[Message, ...]


def ask(world: World, count: int, seed: int) -> tuple[list[Conversation], list[Prompt]]:
    """Simulated candidates, and the first question of each with the facts for the answer."""
    rng = random.Random(seed)
    conversations = [world.conversation(rng, turns=1) for _ in range(count)]
    return conversations, [tuple(Message.model_validate(message) for message in each.prompt()) for each in conversations]


def simulated_judgments(world: World, model: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Comparisons of two replies of the model, in the form of a ``--data`` file; ties and refusals to judge are left out."""
    conversations, prompts = ask(world, count, seed)
    policy, rng, recruiters = load_policy(model), random.Random(seed), draw_recruiters(world, RECRUITERS)
    first, second = (generate(policy, prompts, SAMPLING, seed=2 * seed + side) for side in (0, 1))
    judged = []
    for conversation, a, b in zip(conversations, first, second, strict=True):
        if a == b:
            continue
        answer = rng.choice(recruiters).judge(conversation.records[0], conversation.prompt(), a, b, rng.choice(SIDES), rng)
        if answer.choice in ("A", "B"):
            chosen, rejected = (a, b) if answer.choice == "A" else (b, a)
            judged.append({"prompt": conversation.prompt(), "chosen": chosen, "rejected": rejected, "strength": answer.strength})
    return judged


def win_rate(world: World, conversations: Sequence[Conversation], ours: Sequence[str], theirs: Sequence[str]) -> float:
    """The probability that a simulated recruiter prefers our reply, ties counted half."""
    rates = [
        rate
        for conversation, a, b in zip(conversations, ours, theirs, strict=True)
        for recruiter in draw_recruiters(world, RECRUITERS)
        if (rate := recruiter.win_rate(conversation.records[0], a, b)) is not None
    ]
    return sum(rates) / len(rates)


def train(
    out: Path,
    model: str = "shipped",
    data: Path | None = None,
    rewrites: Path | None = None,
    count: int = 400,
    epochs: int = 4,
    seed: int = 0,
) -> float:
    """Train, show replies before and after to fresh questions, and return the simulated win rate against the model before."""
    world, base = World(seed), model
    judgments = simulated_judgments(world, model, count, seed=1) if data is None else data

    def show(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
        if step % 10 == 0:
            print(f"step {step} of {steps}: " + ", ".join(f"{name} {value:.2f}" for name, value in metrics.items()))

    if rewrites is not None:
        imitated = RLHFTrainer(base, config=RLHFConfig(algorithm="sft", output_dir=out / "sft", seed=seed)).train(rewrites, progress=show)
        base = str(imitated.adapter)
    config = RLHFConfig(model_name=base, algorithm="dpo", num_epochs=epochs, output_dir=out, seed=seed)
    result = RLHFTrainer(config=config).train(judgments, progress=show)
    print(f"trained on {result.trained.rows} {'simulated ' if data is None else ''}judgments; the adapter is in {result.adapter}")

    conversations, prompts = ask(world, 100, seed=2)
    before = generate(load_policy(model), prompts, SAMPLING, seed=3)
    after = generate(load_policy(str(result.adapter)), prompts, SAMPLING, seed=3)
    for prompt, old, new in list(zip(prompts, before, after, strict=True))[:3]:
        print(f"\n{prompt[-1].content}\n- {old}\n+ {new}")
    rate = win_rate(world, conversations, after, before)
    print(f"\na simulated recruiter prefers the new reply with probability {rate:.2f}")
    return rate


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="shipped", help="a folder or a Hugging Face id; by default the shipped model")
    parser.add_argument("--data", type=Path, help="comparisons; by default simulated ones")
    parser.add_argument("--rewrites", type=Path, help="conversations to imitate first")
    parser.add_argument("--count", type=int, default=400, help="pairs that simulated recruiters judge")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    train(**vars(parser.parse_args()))
