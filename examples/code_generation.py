"""Code generation with a reward that runs unit tests: PPO on a model that writes Python functions, on a CPU in a minute.

    python -m examples.code_generation out
    python -m examples.code_generation out --model Qwen/Qwen2.5-Coder-0.5B-Instruct --data tasks.jsonl --steps 100

Without ``--model`` a tiny model is made first: it has read functions of which two in three do something else than what was asked, as much
code does, and so gets about a third right. The reward of a function is the share of its unit tests that pass. No right solution is shown.

A line of ``--data`` is ``{"prompt": "Write f(a, b), the sum of a and b.", "tests": [[[1, 2], 3], [[0, 5], 5]]}``: arguments and result. The
generated code is run by ``examples/unit_tests.py``; read there what that protects from, and what it does not.
"""

import argparse
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from examples.tiny_language_model import build
from examples.unit_tests import share_passed
from feedbackloop import RLHFConfig, RLHFTrainer
from storage.events import Message, Sampling
from trainers.features.embedding import Item
from trainers.models.engine import generate
from trainers.models.policy import load_policy

SOLUTIONS = {
    "the sum of a and b": "a + b",
    "the product of a and b": "a * b",
    "a minus b": "a - b",
    "b minus a": "b - a",
    "the larger of a and b": "max(a, b)",
    "the smaller of a and b": "min(a, b)",
    "the distance between a and b": "abs(a - b)",
    "twice a": "a * 2",
    "the square of b": "b * b",
    "whether a equals b": "a == b",
    "whether a is less than b": "a < b",
    "b where a is negative, else a": "b if a < 0 else a",
}
ARGUMENTS = ((2, 3), (5, 1), (-4, 2), (3, -3), (0, 7), (6, 6))
ASKED = "Write f(a, b), {}."
TINY = {"learning_rate": 4e-3, "max_tokens": 24}  # settings of PPO for the tiny model
Tests = list[tuple[Sequence[Any], Any]]


def tasks() -> dict[str, Tests]:
    """Prompts with their unit tests: three ways to ask for each of the functions."""
    expected: dict[str, Callable[[int, int], Any]] = {what: eval(f"lambda a, b: {code}") for what, code in SOLUTIONS.items()}
    ways = (ASKED, "Please write f(a, b), {}.", "Python: f(a, b), {}.")
    return {way.format(what): [(given, f(*given)) for given in ARGUMENTS] for way in ways for what, f in expected.items()}


def code_of(reply: str) -> str:
    """The code of a reply, without the fence that chat models put around it."""
    fenced = re.search(r"```(?:python)?\n(.*?)```", reply, re.S)
    return fenced.group(1) if fenced else reply


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """A model that writes functions, right ones about one time in three."""
    rng = random.Random(seed)
    whats = {prompt: next(what for what in SOLUTIONS if prompt.endswith(f", {what}.")) for prompt in tasks()}
    pairs = []
    for prompt in rng.choices(list(whats), k=6000):
        code = SOLUTIONS[whats[prompt]] if rng.random() < 0.3 else rng.choice(list(SOLUTIONS.values()))
        pairs.append((prompt, f"def f(a, b):\n    return {code}"))
    return build(pairs, folder, steps=150, seed=seed)


def train(out: Path, model: str | None = None, data: Path | None = None, steps: int = 16, seed: int = 0) -> tuple[float, float]:
    """Train, and return the share of tests that pass before and after, on fresh samples."""
    tests_of = tasks()
    if data is not None:
        tests_of = {each["prompt"]: each["tests"] for each in map(json.loads, data.read_text(encoding="utf-8").splitlines())}
    base = model or str(tiny_model(out / "base", seed))

    def reward(items: Sequence[Item]) -> list[float]:
        return [share_passed(code_of(reply), tests_of[prompt[-1].content]) for prompt, reply in items]

    def show(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
        print(f"step {step:2d} of {steps}: {metrics['reward']:.0%} of the tests pass, KL {metrics['kl']:.2f} nats")

    options: dict[str, Any] = {"steps": steps, "batch": 96, "max_tokens": 256, "least_prompts": 1, "governor_every": 0}
    options |= TINY if model is None else {}
    config = RLHFConfig(model_name=base, algorithm="ppo", output_dir=out, seed=seed, sections={"ppo": options})
    result = RLHFTrainer(config=config, reward=reward).train(list(tests_of), progress=show)

    prompts = [(Message(role="user", content=prompt),) for prompt in tests_of] * (4 if model is None else 1)
    sampling = Sampling(temperature=1.0, max_tokens=options["max_tokens"])
    before, after = (generate(load_policy(base, adapter), prompts, sampling, seed=seed + 1) for adapter in (None, result.adapter))
    shares = tuple(sum(reward(list(zip(prompts, replies, strict=True)))) / len(prompts) for replies in (before, after))
    for prompt, old, new in list(zip(prompts, before, after, strict=True))[:3]:
        print(f"\n{prompt[-1].content}\n- {old!r}\n+ {new!r}")
    print(f"\nunit tests that pass on fresh samples: {shares[0]:.0%} before, {shares[1]:.0%} after; the adapter is in {result.adapter}")
    return shares[0], shares[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", help="a folder or a Hugging Face id; by default a tiny model that is made first")
    parser.add_argument("--data", type=Path, help="JSON lines with prompt and tests")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    train(**vars(parser.parse_args()))
