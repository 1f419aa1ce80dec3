"""What SFT and DPO make of SmolLM2, measured on conversations with names, roles, employers and questions that are in no training.

A fact is unsupported if the ground-truth parser of the simulated world does not find it in the conversation's record (``facts_ratio``), or
if our own facts gate does not find it in the prompt (``facts_ratio_by_gate``). The base model, the model after SFT and the one after DPO
answer the same prompts with common random numbers. The ratio's interval is a bootstrap over prompts.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from benchmarks.policy.smollm2.recipe import BATCH, SAMPLING, Recipe
from simulation.checker import Reading
from simulation.recruiters import draw_recruiters
from simulation.world import Conversation, World
from storage.events import Message
from trainers.audits.content.facts import unsupported, values_of
from trainers.models.engine import generate
from trainers.models.policy import Policy, load_policy
from trainers.models.smollm2 import SMOLLM2

ARMS = ("base", "sft", "dpo")
PACKAGES = ("torch", "transformers", "trl", "peft", "gguf")
QUICK = Recipe(demonstrations=40, pairs=64, prompts=16)
RESAMPLES, EXAMPLES = 2_000, 4


@dataclass
class Measured:
    """What was trained and what came out: replies by arm in the order of the prompts, and the seconds of each step."""

    recipe: Recipe
    prompts: list[tuple[Conversation, tuple[Message, ...]]]
    replies: dict[str, list[str]] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    trained: dict[str, Any] = field(default_factory=dict)

    @property
    def world(self) -> World:
        """The world that judged."""
        return World(self.recipe.seed)

    def readings(self, arm: str) -> list[Reading]:
        """The parser's reading of each reply."""
        world = self.world
        return [world.read(each.records[-1], text) for (each, _), text in zip(self.prompts, self.replies[arm], strict=True)]

    def wrong(self, arm: str) -> np.ndarray:
        """Whether each reply has an unsupported fact by the parser, bool ``(n,)``."""
        return np.array([bool(reading.wrong_facts) for reading in self.readings(arm)])

    def wrong_by_gate(self, arm: str) -> np.ndarray:
        """Whether each reply has an unsupported fact by the facts gate, bool ``(n,)``."""
        values = values_of(prompt for _, prompt in self.prompts)
        return np.array(
            [bool(unsupported(prompt, text, values)) for (_, prompt), text in zip(self.prompts, self.replies[arm], strict=True)]
        )

    def win_rate(self, arm: str, other: str) -> np.ndarray:
        """P(``arm``'s reply preferred), ties half, the mean over recruiters; without prompts where none accepts either reply."""
        panel = draw_recruiters(self.world, self.recipe.recruiters)
        rates = []
        for (conversation, _), ours, theirs in zip(self.prompts, self.replies[arm], self.replies[other], strict=True):
            given = [each.win_rate(conversation.records[-1], ours, theirs) for each in panel]
            if known := [rate for rate in given if rate is not None]:
                rates.append(float(np.mean(known)))
        return np.array(rates)


def figures(quick: bool) -> Sequence[Figure]:
    """The row of ``benchmarks.policy``."""
    return figures_of(measure(QUICK if quick else Recipe()))


def say(line: str) -> None:
    """Report on stderr."""
    sys.stderr.write(f"{line}\n")


def measure(recipe: Recipe) -> Measured:
    """Train and sample; takes about half an hour on a core."""
    found = Measured(recipe, recipe.held_out())

    def progress(step: int, steps: int, metrics: Any) -> None:
        if step % max(1, steps // 8) == 0:
            say(f"  step {step} of {steps}, loss {metrics.get('loss', float('nan')):.3f}")

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        found.seconds[what] = round(time.monotonic() - started, 1)
        say(f"{what}: {found.seconds[what]:.0f} s")

    def answer(arm: str, policy: Policy) -> None:
        with timed(f"{arm} answers"):
            found.replies[arm] = generate(policy, [prompt for _, prompt in found.prompts], SAMPLING, recipe.seed, batch=BATCH)
        found.tokens[arm] = float(np.mean([len(policy.chat.reply_ids(text)) for text in found.replies[arm]]))

    with tempfile.TemporaryDirectory() as scratch:
        answer("base", load_policy(SMOLLM2))
        with timed("SFT"):
            sft = recipe.sft(Path(scratch) / "sft", progress)
        policy = load_policy(str(sft.adapter))
        answer("sft", policy)
        with timed("pairs"):
            rows = recipe.judged(policy)
        del policy
        with timed("DPO"):
            dpo = recipe.dpo(sft.adapter, rows, Path(scratch) / "dpo", progress)
        answer("dpo", load_policy(str(sft.adapter), dpo.adapter))
    found.trained = {
        name: {"rows": each.rows, "steps": each.steps, "metrics": {key: round(value, 4) for key, value in each.metrics.items()}}
        for name, each in (("sft", sft), ("dpo", dpo))
    }
    return found


def figures_of(found: Measured) -> list[Figure]:
    """The figures, the ratio that is to be reached first."""
    n = len(found.prompts)
    rng = np.random.default_rng(0)
    figures = [
        ratio("smollm2_facts_ratio", found.wrong("dpo"), found.wrong("base"), rng, "<=0.5"),
        ratio("smollm2_facts_ratio_by_gate", found.wrong_by_gate("dpo"), found.wrong_by_gate("base"), rng),
    ]
    for arm in ARMS:
        readings = found.readings(arm)
        tasks = [reading.success for reading in readings if reading.success is not None]
        shares: dict[str, Sequence[object]] = {
            "wrong_facts": found.wrong(arm).tolist(),
            "wrong_facts_by_gate": found.wrong_by_gate(arm).tolist(),
            "unlawful": [reading.unlawful for reading in readings],
            "concrete": [reading.concrete for reading in readings],
            "dated": [reading.dated for reading in readings],
            "tasks_done": tasks,
        }
        figures += [_mean(f"smollm2_{name}_{arm}", np.array([bool(v) for v in values]), rng, "share") for name, values in shares.items()]
        figures.append(Figure(f"smollm2_tokens_{arm}", found.tokens[arm], None, None, f"a reply, mean of {n}"))
    for arm, other in (("sft", "base"), ("dpo", "sft")):
        rates = found.win_rate(arm, other)
        figures.append(_mean(f"smollm2_true_win_rate_{arm}_over_{other}", rates, rng, f"of this panel, on {len(rates)} prompts"))
    return figures


def examples(found: Measured) -> list[dict[str, Any]]:
    """The first prompts of one turn with every arm's reply and what is unsupported in it; not chosen by hand."""
    first = [i for i, (conversation, _) in enumerate(found.prompts) if len(conversation.asks) == 1][:EXAMPLES]
    return [
        {
            "facts": found.prompts[i][1][0].content,
            "asked": found.prompts[i][1][-1].content,
            "replies": {arm: {"text": found.replies[arm][i], "wrong": list(found.readings(arm)[i].wrong_facts)} for arm in ARMS},
        }
        for i in first
    ]


def about(found: Measured) -> dict[str, Any]:
    """What explains the figures."""
    return {
        "recipe": asdict(found.recipe),
        "sampling": {"temperature": SAMPLING.temperature, "top_p": SAMPLING.top_p, "max_tokens": SAMPLING.max_tokens},
        "trained": found.trained,
        "seconds": found.seconds,
        "examples": examples(found),
    }


def _mean(name: str, values: np.ndarray, rng: np.random.Generator, unit: str) -> Figure:
    if not len(values):
        return Figure(name, float("nan"), None, None, unit)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return Figure(name, float(values.mean()), float(low), float(high), unit)


def ratio(name: str, after: np.ndarray, before: np.ndarray, rng: np.random.Generator, reach: str = "") -> Figure:
    """The ratio of two shares on the same prompts, resampled together."""
    rows = (rng.integers(0, len(after), len(after)) for _ in range(RESAMPLES))
    ratios = [after[row].mean() / max(before[row].mean(), 1 / len(row)) for row in rows]
    low, high = np.quantile(ratios, (0.025, 0.975))
    value = float(after.mean() / before.mean()) if before.any() else float("inf")
    return Figure(name, value, float(low), float(high), f"of the base model's share, {len(after)} prompts", reach)
