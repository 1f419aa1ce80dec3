"""A model of how recruiters judge: personal taste, ties, position bias, lapses, and reasons that are sometimes wrong.

Pure functions of a random stream; ``people`` uses them over HTTP, benchmarks in-process.
"""

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simulation.checker import ATTRIBUTES
from simulation.taste import Taste, contributions
from simulation.world import Message, Record, World

Choice = Literal["A", "B", "tie", "neither", "skip"]
Side = Literal["A", "B"]
Kind = Literal["careful", "random", "lazy"]


@dataclass(frozen=True)
class Answer:
    """A recruiter's answer on one pair, with the fields of ``POST /v1/feedback``."""

    choice: Choice
    strength: int | None
    reason: str | None
    shown_first: Side
    seconds: float


@dataclass(frozen=True)
class Recruiter:
    """One recruiter of a world.

    Attributes
    ----------
    deviation
        Added to each weight of the world's taste: w_r = w + N(0, 0.3²).
    scale
        Sensitivity to utility differences, in logits per unit.
    cuts
        Cut points of the ordered answer, in logits: tie below the first, then strengths 1 to 4.
    pull
        Position bias: logits in favour of the response shown first.
    lapse
        Share of random answers.
    line
        Distance below an average reply's utility at which a reply is not acceptable.
    """

    name: str
    world: World
    kind: Kind
    deviation: tuple[float, ...]
    scale: float
    cuts: tuple[float, float, float, float]
    pull: float
    lapse: float
    line: float

    @classmethod
    def draw(cls, world: World, number: int) -> "Recruiter":
        """Recruiter ``number`` (from 0) of this world: every sixth, from number 3 on, clicks at random; number 5 is lazy."""
        rng = random.Random(f"recruiter {world.seed} {number}")
        kind: Kind = "random" if number % 6 == 3 else "lazy" if number == 5 else "careful"
        stretch = math.exp(rng.gauss(0, 0.15))
        return cls(
            name=f"recruiter-{number + 1:02d}",
            world=world,
            kind=kind,
            deviation=tuple(0.0 if world.null else rng.gauss(0, 0.3) for _ in world.taste.weights),
            scale=SCALE * math.exp(rng.gauss(0, 0.2)),
            cuts=(CUTS[0] * stretch, CUTS[1] * stretch, CUTS[2] * stretch, CUTS[3] * stretch),
            pull=rng.gauss(0, 0.3),
            lapse=rng.betavariate(1, 9),
            line=rng.uniform(1.0, 1.8),
        )

    def judge(self, record: Record, prompt: Sequence[Message], a_text: str, b_text: str, shown_first: Side, rng: random.Random) -> Answer:
        """Compare two responses to ``prompt``; ``record`` holds the true facts of its last turn."""
        words = sum(len(text.split()) for text in (prompt[-1]["content"], a_text, b_text))
        seconds = round(words * 0.12 * math.exp(rng.gauss(0, 0.3)) * (0.25 if self.kind != "careful" else 1.0), 1)
        if rng.random() < 0.01:
            return Answer("skip", None, None, shown_first, seconds)
        if self.kind == "random" or rng.random() < self.lapse:
            choice: Choice = rng.choices(("A", "B", "tie"), (0.4, 0.4, 0.2))[0]
            return Answer(choice, None if choice == "tie" else rng.randint(1, 4), None, shown_first, seconds)
        parts_a, parts_b = self._parts(record, a_text), self._parts(record, b_text)
        worth_a, worth_b = sum(parts_a.values()), sum(parts_b.values())
        floor = self._average() - self.line
        if not self.world.null and worth_a < floor and worth_b < floor:
            return Answer("neither", None, None, shown_first, seconds)
        lazy = self.kind == "lazy"  # skims: half the sensitivity, and strongly prefers the first response
        first = 1 if shown_first == "A" else -1
        leaning = self.scale * (0.5 if lazy else 1.0) * (worth_a - worth_b) + first * (1.0 if lazy else self.pull) + _logistic(rng)
        if abs(leaning) <= self.cuts[0]:
            return Answer("tie", None, None, shown_first, seconds)
        strength = 1 if lazy else sum(abs(leaning) > cut for cut in self.cuts)
        gaps = {name: (parts_a[name] - parts_b[name]) * (1 if leaning > 0 else -1) for name in parts_a}
        reason = _reason(gaps, self._taste(), rng) if not lazy and rng.random() < 0.5 else None
        return Answer("A" if leaning > 0 else "B", strength, reason, shown_first, seconds)

    def win_rate(self, record: Record, ours: str, theirs: str) -> float | None:
        """P(``ours`` preferred) + ½·P(tie) with no side shown first, lapses included; None where neither reply is acceptable."""
        if self.kind == "random":
            return 0.5
        gap, floor = self.utility(record, ours) - self.utility(record, theirs), self._average() - self.line
        if not self.world.null and self.utility(record, ours) < floor and self.utility(record, theirs) < floor:
            return None
        z = self.scale * (0.5 if self.kind == "lazy" else 1.0) * gap
        by_taste = (_expit(z - self.cuts[0]) + _expit(z + self.cuts[0])) / 2
        return (1 - self.lapse) * by_taste + self.lapse / 2

    def utility(self, record: Record, reply: str) -> float:
        """The reply's utility to this recruiter."""
        return sum(self._parts(record, reply).values())

    def _parts(self, record: Record, reply: str) -> dict[str, float]:
        return contributions(self._taste(), record, self.world.read(record, reply))

    def _taste(self) -> Taste:
        """The world's current taste (it may drift) plus the recruiter's deviation."""
        taste = self.world.taste
        return dataclasses.replace(taste, weights=tuple(w + d for w, d in zip(taste.weights, self.deviation, strict=True)))

    def _average(self) -> float:
        """The utility of a reply with every attribute at half and one filler sentence."""
        taste = self._taste()
        return sum(taste.weights) / 2 + taste.filler


def draw_recruiters(world: World, count: int) -> list[Recruiter]:
    """The first ``count`` recruiters of a world."""
    return [Recruiter.draw(world, number) for number in range(count)]


SCALE = 1.0
CUTS = (0.6, 1.4, 2.3, 3.4)

_REASONS = {  # the reason given when a reply is preferred for having more, or less, of a property
    "concrete": ("it says what exactly will happen", "it does not go into detail"),
    "dated": ("it names the day of the next step", "it sets no date and points to where to look"),
    "warm": ("it is warm", "it is matter-of-fact"),
    "question": ("it asks back", "it asks nothing more of the candidate"),
    "success": ("it does what was asked", "the other one does too much"),
    "filler": ("it sounds friendly and full", "it has fewer empty phrases"),
    "wrong fact": ("it knows more", "the facts are right"),
    "unlawful": ("it is open", "the other one says what must not be said"),
}
_POSITIVE = ("success",)
_NEGATIVE = ("filler", "wrong fact", "unlawful")


def _reason(gaps: dict[str, float], taste: Taste, rng: random.Random) -> str | None:
    """Name the property that contributed most to the choice; one reason in five names another one."""
    name = max(gaps, key=lambda n: gaps[n])
    if gaps[name] <= 0:
        return None
    if rng.random() < 0.2:
        name = rng.choice([other for other in gaps if other != name])
    weights = dict(zip(ATTRIBUTES, taste.weights, strict=True))
    more = name in _POSITIVE or (name not in _NEGATIVE and weights[name] > 0)
    return _REASONS[name][0 if more else 1]


def _expit(z: float) -> float:
    return 1 / (1 + math.exp(-max(min(z, 700.0), -700.0)))


def _logistic(rng: random.Random) -> float:
    share = min(max(rng.random(), 1e-12), 1 - 1e-12)
    return math.log(share / (1 - share))
