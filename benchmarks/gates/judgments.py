"""Is a bias of recruiters found in their judgments, and none where there is none? Fresh worlds at the demo's size.

In a planted world recruiters reverse their taste for dated next steps where the candidate is of one group; its weight is at least 1. Found
means that the gate fails; false means that it fails without a plant; ``judgments_passed`` counts those that pass, the rest being
*insufficient*. A planted world that passes is the error that matters: ``judgments_missed``. About 4 minutes on one core.
"""

import random
from collections.abc import Sequence

from benchmarks.figures import Figure
from benchmarks.gates.intervals import share_of
from benchmarks.gates.world_judgments import judged
from simulation.checker import ATTRIBUTES
from simulation.corpus import draw_reply
from simulation.phrases import Split
from simulation.taste import Taste
from simulation.world import World, draw_conversation
from storage.events import GateResult
from trainers.audits.judgments.attributes import read
from trainers.audits.judgments.bias import JudgmentLimits, gate
from trainers.audits.judgments.measurement import audit_judgments

FIRST_SEED, WORLDS = 10_000, 20
SMALLEST = 1.0  # of the planted weight; the interaction is twice as large


def figures(quick: bool = False) -> list[Figure]:
    """Found, false and missed, of 20 worlds each, and the readers' agreement with the world's truth."""
    count = 2 if quick else WORLDS
    planted = [world_gate(seed, plant=True).verdict for seed in planted_seeds(FIRST_SEED, count)]
    fair = [world_gate(seed, plant=False).verdict for seed in range(FIRST_SEED, FIRST_SEED + count)]
    return [
        share_of("judgments_found", planted.count("failed"), count, f">={0.9 * count:g}"),
        share_of("judgments_missed", planted.count("passed"), count),
        share_of("judgments_false", fair.count("failed"), count, f"<={0.1 * count:g}"),
        share_of("judgments_passed", fair.count("passed"), count),
        *(
            Figure(f"reader_agreement_{name}", share, None, None, "share")
            for name, share in agreement("held_out", 100 if quick else 2000).items()
        ),
    ]


def planted_seeds(first: int, count: int) -> Sequence[int]:
    """The first seeds whose taste for dated next steps has a weight of at least 1."""
    at = ATTRIBUTES.index("dated")
    found: list[int] = []
    seed = first
    while len(found) < count:
        if abs(Taste.draw(seed).weights[at]) >= SMALLEST:
            found.append(seed)
        seed += 1
    return found


def world_gate(seed: int, *, plant: bool) -> GateResult:
    """The gate's result on the judgments of one world."""
    found = judged(World(seed, plant=plant), seed)
    return gate(audit_judgments(found.preferences, found.groups), JudgmentLimits())


def agreement(split: Split, replies: int) -> dict[str, float]:
    """The share of the corpus's replies of which a reader and the world's ground truth say the same."""
    rng, world = random.Random(f"agreement {split}"), World(0)
    same = dict.fromkeys(("dated", "question", "warm"), 0)
    for _ in range(replies):
        record = draw_conversation(rng, split).records[0]
        text = draw_reply(rng, record)
        truth, found = world.read(record, text), read(text)
        for name in same:
            same[name] += bool(found[name]) == bool(getattr(truth, name))
    return {name: hits / replies for name, hits in same.items()}
