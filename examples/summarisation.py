"""Summaries of job adverts that keep the facts and stay short: PPO against a rule, on a CPU in a minute.

    python -m examples.summarisation out
    python -m examples.summarisation out --model Qwen/Qwen2.5-0.5B-Instruct --data adverts.jsonl --steps 100

The reward is the share of an advert's facts that its summary states, less a tenth for every five words, less one for each fact of another
advert. Without ``--model`` a tiny model is made first, from invented adverts with careless summaries: each leaves out half of the facts and
adds something that nobody asked for. It is then trained on adverts that it has not seen.

A line of ``--data`` is ``{"text": "the advert …", "facts": ["night porter", "Leeds"]}``.
"""

import argparse
import json
import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from examples.tiny_language_model import build
from feedbackloop import RLHFConfig, RLHFTrainer
from storage.events import Message, Sampling
from trainers.features.embedding import Item
from trainers.models.engine import generate
from trainers.models.policy import load_policy

ROLES = ("night porter", "line cook", "payroll clerk", "forklift driver", "florist", "welder")
TOWNS = ("Leeds", "Cardiff", "Dundee", "Norwich", "Exeter", "Derby")
HOURS = ("full time", "part time", "weekends only", "nights only")
PAYS = ("12 pounds an hour", "15 pounds an hour", "18 pounds an hour", "21 pounds an hour")
OPENINGS = ("We are a family business.", "Come and join our friendly team!", "Who we are: people like you.")
FILLERS = ("a great place to work", "an exciting chance", "with a lovely team", "apply today")
ASKED = "Summarise: {}"
TINY = {"learning_rate": 4e-3, "max_tokens": 48}  # settings of PPO for the tiny model


def adverts() -> dict[str, list[str]]:
    """All adverts in a fixed random order, with the facts of each."""
    found = {}
    for i, (role, town, hours, pay) in enumerate(product(ROLES, TOWNS, HOURS, PAYS)):
        body = f"We look for a {role} in {town}, {hours}. The pay is {pay}."
        found[f"{OPENINGS[i % len(OPENINGS)]} {body}"] = [role, town, hours, pay]
    texts = random.Random(0).sample(list(found), len(found))
    return {text: found[text] for text in texts}


def careless(facts: Sequence[str], rng: random.Random) -> str:
    """A summary as the tiny model learns it: each fact with a probability of one half, and filler."""
    kept = [fact for fact in facts if rng.random() < 0.5] or [rng.choice(facts)]
    return "Job: " + "; ".join([*kept, *rng.sample(FILLERS, rng.randint(0, 2))])


def score(summary: str, facts: Sequence[str], all_facts: Sequence[str]) -> float:
    """The reward of a summary."""
    stated = [fact for fact in all_facts if fact in summary]
    right = sum(fact in facts for fact in stated)
    return right / len(facts) - len(summary.split()) / 50 - (len(stated) - right)


def train(out: Path, model: str | None = None, data: Path | None = None, steps: int = 16, seed: int = 0) -> tuple[float, float]:
    """Train, and return the mean reward before and after, on fresh adverts."""
    facts_of = adverts()
    if data is not None:
        facts_of = {each["text"]: each["facts"] for each in map(json.loads, data.read_text(encoding="utf-8").splitlines())}
    all_facts = sorted({fact for facts in facts_of.values() for fact in facts})
    texts, base = list(facts_of), model
    fresh, texts = texts[:64], texts[64:] or texts
    if base is None:
        rng = random.Random(seed)
        read, texts = texts[:300], texts[300:]
        base = str(build([(ASKED.format(text), careless(facts_of[text], rng)) for text in read for _ in range(8)], out / "base", seed=seed))

    def reward(items: Sequence[Item]) -> list[float]:
        asked = [prompt[-1].content.removeprefix(ASKED.format("")) for prompt, _ in items]
        return [score(reply, facts_of[text], all_facts) for text, (_, reply) in zip(asked, items, strict=True)]

    def show(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
        print(f"step {step:2d} of {steps}: reward {metrics['reward']:.2f}, {metrics['length']:.0f} tokens, KL {metrics['kl']:.2f} nats")

    options: dict[str, Any] = {"steps": steps, "batch": 64, "max_tokens": 128, "governor_every": 0, "least_prompts": 1} | (
        TINY if model is None else {}
    )
    config = RLHFConfig(model_name=base, algorithm="ppo", output_dir=out, seed=seed, sections={"ppo": options})
    result = RLHFTrainer(config=config, reward=reward).train([ASKED.format(text) for text in texts], progress=show)

    prompts = [(Message(role="user", content=ASKED.format(text)),) for text in fresh]
    sampling = Sampling(temperature=1.0, max_tokens=options["max_tokens"])
    before, after = (generate(load_policy(base, adapter), prompts, sampling, seed=seed + 1) for adapter in (None, result.adapter))
    means = [sum(reward(list(zip(prompts, replies, strict=True)))) / len(prompts) for replies in (before, after)]
    for text, old, new in list(zip(fresh, before, after, strict=True))[:3]:
        print(f"\n{text}\n- {old}\n+ {new}")
    print(f"\nreward on fresh adverts: {means[0]:.2f} before, {means[1]:.2f} after; the adapter is in {result.adapter}")
    return means[0], means[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", help="a folder or a Hugging Face id; by default a tiny model that is made first")
    parser.add_argument("--data", type=Path, help="JSON lines with text and facts")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    train(**vars(parser.parse_args()))
