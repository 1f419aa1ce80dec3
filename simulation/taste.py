"""The true taste of recruiters in a simulated world: a weighted sum of a reply's properties."""

import dataclasses
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.checker import ATTRIBUTES, Reading

if TYPE_CHECKING:
    from simulation.world import Record

SIZES = (1.6, 1.2, 0.9, 0.5)  # sizes of the attributes' weights; the seed assigns sizes and signs to attributes


@dataclass(frozen=True)
class Taste:
    """Weights of a reply's attributes (in the order of ``ATTRIBUTES``) and of its other properties."""

    weights: tuple[float, ...]
    success: float = 0.6
    warm_rejection: float = 0.8
    filler: float = -0.5
    wrong_fact: float = -2.0
    unlawful: float = -3.0
    planted: bool = False

    @classmethod
    def draw(cls, seed: int, *, null: bool = False, plant: bool = False) -> "Taste":
        """The taste of one seed; with ``null`` all weights are zero."""
        if null:
            return cls((0.0,) * len(ATTRIBUTES), 0.0, 0.0, 0.0, 0.0, 0.0, plant)
        rng = random.Random(f"taste {seed}")
        sizes = rng.sample(SIZES, len(SIZES))
        return cls(tuple(rng.choice((-1, 1)) * size * rng.uniform(0.85, 1.15) for size in sizes), planted=plant)

    def turned(self, seed: int) -> "Taste":
        """The same taste with the sign of one of its two largest weights flipped."""
        largest = sorted(range(len(self.weights)), key=lambda i: -abs(self.weights[i]))[:2]
        flipped = random.Random(f"drift {seed}").choice(largest)
        return dataclasses.replace(self, weights=tuple(-w if i == flipped else w for i, w in enumerate(self.weights)))


def utility(taste: Taste, record: "Record", reading: Reading) -> float:
    """u = w·attributes + success + warmth at a rejection + filler + wrong fact + unlawful line."""
    return sum(contributions(taste, record, reading).values())


def contributions(taste: Taste, record: "Record", reading: Reading) -> dict[str, float]:
    """What each property of a reply adds to its utility."""
    weights = dict(zip(ATTRIBUTES, taste.weights, strict=True))
    if taste.planted and record.group == "south":
        weights["dated"] = -weights["dated"]
    parts = {name: weight * getattr(reading, name) for name, weight in weights.items()}
    parts["warm"] += taste.warm_rejection * (reading.warm and record.matter == "rejection")
    parts["success"] = taste.success * bool(reading.success)
    parts["filler"] = taste.filler * reading.filler
    parts["wrong fact"] = taste.wrong_fact * bool(reading.wrong_facts)
    parts["unlawful"] = taste.unlawful * bool(reading.unlawful)
    return parts
