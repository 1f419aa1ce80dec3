"""How many more of the candidates' tasks does a policy do that recruiters' judgments have trained?

Fresh worlds whose recruiters like concrete answers; in the others a task done is not what they ask for. Names, roles, employers and
questions are held out. The gap is that between the base model and the best of 16 of its replies, chosen by the ground-truth parser, which
is never a reward. Beside it a control: the base model, trained further on dialogues of its own corpus, for about as many passes.
"""

import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.policy.fresh_world import Fresh, judged, trained
from benchmarks.side_by_side import side_by_side
from simulation.checker import Reading
from simulation.corpus import draw_reply
from simulation.world import World, draw_conversation
from storage.events import Message
from trainers.data.demonstration import Demonstration
from trainers.models.policy import load_policy
from trainers.models.references import base_hash
from trainers.runs.data import RunData

FIRST_SEED, SEEDS, JUDGMENTS = 20_000, 5, 480
PROMPTS, BEST_OF = 600, 16
CONTROL_ROWS = 6_000  # PPO: 2,048 replies, each with four passes forward and two back; SFT: one of each a row


def figures(quick: bool) -> Sequence[Figure]:
    """The share of the gap that is closed, over seeds, with the points before and after, and the wrong facts."""
    rows = side_by_side(partial(_seed, prompts=60 if quick else PROMPTS), _seeds(1 if quick else SEEDS))
    base, ours, control, best = (np.array(column) for column in zip(*[row[:4] for row in rows], strict=True))
    wrong_before, wrong_after = (np.array(column) for column in zip(*[row[4:] for row in rows], strict=True))
    shares = (ours - base) / (best - base)
    about = f"base {base_hash('shipped')}"
    return [
        Figure(
            "task_success_share", float(shares.mean()), float(shares.min()), float(shares.max()), f"of the gap, {len(rows)} seeds", ">=.5"
        ),
        _over_seeds("task_success_base", base, f"of the tasks; {about}"),
        _over_seeds("task_success_ppo", ours, "of the tasks"),
        _over_seeds("task_success_control", control, "of the tasks: the same compute of further SFT"),
        _over_seeds("task_success_best_of_16", best, "of the tasks, chosen by the parser"),
        _over_seeds("task_wrong_facts", wrong_after - wrong_before, "of the replies, after minus before", "<=0"),
    ]


def _seeds(count: int) -> list[int]:
    found: list[int] = []
    seed = FIRST_SEED
    while len(found) < count:
        if World(seed).taste.weights[0] > 0:  # of ``concrete``
            found.append(seed)
        seed += 1
    return found


def _seed(seed: int, prompts: int) -> tuple[float, ...]:
    """Task success of base, PPO, control and best of 16, and the wrong facts of base and PPO."""
    world = World(seed)
    fresh = _checkable(Fresh.draw(world, f"tasks {seed}", 4 * prompts), prompts)
    with tempfile.TemporaryDirectory() as scratch:
        data = judged(seed, world, JUDGMENTS, Path(scratch) / "world")
        policies = [
            load_policy("shipped"),
            load_policy("shipped", trained("ppo", data, Path(scratch) / "ppo").adapter),
            load_policy("shipped", trained("sft", _further(data, seed), Path(scratch) / "sft").adapter),
        ]
        readings = [fresh.readings(world, fresh.replies(policy, seed)) for policy in policies]
    best = np.zeros(len(fresh.conversations), bool)
    for draw in range(BEST_OF):
        best |= _done(fresh.readings(world, fresh.replies(policies[0], seed * 100 + draw)))
    base, ours, control = (float(_done(each).mean()) for each in readings)
    before, after = (float(np.mean([bool(reading.wrong_facts) for reading in each])) for each in readings[:2])
    sys.stderr.write(f"tasks, seed {seed}: {base:.3f} -> {ours:.3f}, control {control:.3f}, best of 16 {best.mean():.3f}\n")
    return base, ours, control, float(best.mean()), before, after


def _checkable(fresh: Fresh, count: int) -> Fresh:
    """Those with a task that can be checked: a booking or a question about the stage."""
    return Fresh([each for each in fresh.conversations if each.records[0].matter in ("booking", "status")][:count])


def _done(readings: Sequence[Reading]) -> np.ndarray:
    return np.array([bool(reading.success) for reading in readings])


def _further(data: RunData, seed: int) -> RunData:
    """Dialogues as in the base model's corpus, with other random numbers, instead of judgments."""
    rng = random.Random(f"further {seed}")
    rows = []
    for _ in range(CONTROL_ROWS):
        conversation = draw_conversation(rng, "sft", turns=1)
        prompt = tuple(Message.model_validate(message) for message in conversation.prompt())
        rows.append(Demonstration(prompt, draw_reply(rng, conversation.records[0]), "training", conversation.conversation_id, "simulation"))
    return replace(data, preferences=(), rated=(), demonstrated=tuple(rows), snapshot=None)


def _over_seeds(name: str, values: np.ndarray, unit: str, reach: str = "") -> Figure:
    return Figure(name, float(values.mean()), float(values.min()), float(values.max()), unit, reach)
