"""Does the loop go on getting better, or wear out? Five retrainings in a row, each on fresh judgments of what the last policy says.

As in the product: every run starts from the base model, with all judgments so far; each new policy serves the chats of the next round,
whatever the gates would say. Figures are over seeds, on prompts that no training sees.
"""

import itertools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.policy.fresh_world import Fresh, judged, trained, win_rate
from benchmarks.side_by_side import side_by_side
from simulation.world import World
from trainers.models.policy import load_policy
from trainers.models.scoring import log_probabilities

FIRST_SEED, SEEDS, ROUNDS, JUDGMENTS, PROMPTS = 21_000, 3, 5, 240, 400


@dataclass(frozen=True)
class Round:
    """What the truth says of one round's policy."""

    win: float
    kl: float
    length: float
    distinct: float
    wrong_facts: float


def figures(quick: bool) -> Sequence[Figure]:
    """The first and the fifth policy's win rate against the base by the world's taste, and how the fifth differs otherwise."""
    rounds = 2 if quick else ROUNDS
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if quick else SEEDS))
    rows = side_by_side(partial(_rounds, rounds=rounds, prompts=40 if quick else PROMPTS), seeds)
    first, last = [row[0] for row in rows], [row[-1] for row in rows]
    start = float(np.mean([each.win for each in first]))
    return [
        _over_seeds("first_true_win_rate", [each.win for each in first], "against the base"),
        _over_seeds("fifth_true_win_rate", [each.win for each in last], "against the base", f">={start:.3f}"),
        *[
            _over_seeds(f"{number}_{name}", [getattr(each, name) for each in found], unit)
            for name, unit in (
                ("kl", "nats a reply"),
                ("length", "words a reply"),
                ("distinct", "distinct bigrams, of all"),
                ("wrong_facts", "of the replies"),
            )
            for number, found in (("first", first), ("fifth", last))
        ],
    ]


def _rounds(seed: int, rounds: int, prompts: int) -> list[Round]:
    world = World(seed)
    fresh = Fresh.draw(world, f"retrainings {seed}", prompts)
    base = load_policy("shipped")
    theirs = fresh.utilities(world, fresh.replies(base, seed))
    found: list[Round] = []
    serving, data = base, None
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds):
            new = judged(seed * 10 + number, world, JUDGMENTS, Path(scratch) / f"world-{number}", serving)
            preferences = new.preferences if data is None else (*data.preferences, *new.preferences)
            data = replace(new, preferences=preferences)
            serving = load_policy("shipped", trained("dpo", data, Path(scratch) / str(number)).adapter)
            replies = fresh.replies(serving, seed)
            ours, reference = (log_probabilities(policy, fresh.prompts, replies) for policy in (serving, base))
            words = [reply.split() for reply in replies]
            bigrams = [pair for each in words for pair in itertools.pairwise(each)]
            found.append(
                Round(
                    win_rate(fresh.utilities(world, replies), theirs),
                    float(np.mean([one.sum() - other.sum() for one, other in zip(ours, reference, strict=True)])),
                    float(np.mean([len(each) for each in words])),
                    len(set(bigrams)) / len(bigrams),
                    float(np.mean([bool(reading.wrong_facts) for reading in fresh.readings(world, replies)])),
                )
            )
            sys.stderr.write(f"retrainings, seed {seed}, round {number + 1}: {found[-1]}\n")
    return found


def _over_seeds(name: str, values: Sequence[float], unit: str, reach: str = "") -> Figure:
    return Figure(name, float(np.mean(values)), min(values), max(values), unit, reach)
