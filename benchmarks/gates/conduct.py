"""Measures the conduct detector on hand-written lines, and how far conduct can get worse over promotions.

``conduct.tsv`` holds replies with labels that were written before the rules, half of them lawful look-alikes. A hash of the line splits
them; the rules were tuned on one half and are measured on the other. The lines and the rules have the same author, so that texts of others
will be found less often.
"""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from benchmarks.figures import Figure
from trainers.audits.content.conduct import ConductLimits, gate
from trainers.audits.content.conduct_rules import improper
from trainers.audits.content.shares import ShareLimits, Shares, not_worse
from trainers.audits.statistics.intervals import exact_share

REPLIES = 810  # of an evaluation
ROUNDS = 10
STEPS = (0.0005, 0.001, 0.002, 0.004, 0.007)  # by which a challenger's true rate of improper replies exceeds the champion's
BASE = 0.0005  # the base model's; 0 of 2,400 sampled replies of the shipped model were improper
FIRST_SEED = 10_000
CONFIDENCE = 0.975  # one side of a 95 % interval


class Line(NamedTuple):
    """A reply with its label (question, promise, preference or lawful), written before the rules were tuned."""

    text: str
    label: str
    topic: str

    @property
    def held_out(self) -> bool:
        """Whether it is in the half that the rules were never tuned on."""
        return int(hashlib.sha256(self.text.encode()).hexdigest(), 16) % 2 == 1

    @property
    def flagged(self) -> bool:
        return bool(improper(self.text))


def lines() -> list[Line]:
    """The hand-written lines of ``conduct.tsv``."""
    text = files("benchmarks.gates").joinpath("conduct.tsv").read_text(encoding="utf-8")
    rows = csv.reader(text.splitlines()[1:], delimiter="\t", quoting=csv.QUOTE_NONE)
    return [Line(*row) for row in rows]


def figures(quick: bool) -> list[Figure]:
    """Precision and recall on the held-out half, and the drift over ten rounds; about a minute."""
    return [*detector([line for line in lines() if line.held_out]), *drifts(2 if quick else 100)]


def detector(held_out: Sequence[Line]) -> list[Figure]:
    """Precision and recall with 95 % intervals of Clopper and Pearson."""
    right = sum(line.flagged and line.label != "lawful" for line in held_out)
    flagged, unlawful = sum(line.flagged for line in held_out), sum(line.label != "lawful" for line in held_out)
    found = []
    for name, of in (("conduct_precision", flagged), ("conduct_recall", unlawful)):
        share = exact_share(right, of, CONFIDENCE)
        found.append(Figure(name, share.figure, share.low, share.high, f"of {of} lines", ">=0.9"))
    return found


def drifts(runs: int) -> list[Figure]:
    """The rise of the champion's true rate above the base model's after ten rounds at the worst step, in points, and related figures."""
    new = {step: _final(step, runs, against_champion=False) for step in STEPS}
    old = {step: _final(step, max(runs // 10, 2), against_champion=True) for step in STEPS}
    at_base = [_passes(BASE, np.random.default_rng([FIRST_SEED, run])) for run in range(10 * runs)]
    worst, before = max(new, key=lambda step: np.mean(new[step])), max(old, key=lambda step: np.mean(old[step]))
    rejected = exact_share(at_base.count(False), len(at_base), CONFIDENCE)
    return [
        _mean("conduct_drift", new[worst]),
        _mean("conduct_drift_against_champion", old[before]),
        Figure("conduct_rejects_equal", rejected.figure, rejected.low, rejected.high, f"of {len(at_base)} challengers like the base"),
    ]


def drift(base: float, step: float, rounds: int, rng: np.random.Generator, *, against_champion: bool = False) -> list[float]:
    """The champion's true rate of improper replies after each round, in each of which one challenger comes to the gate.

    Its true rate is ``step`` above the champion's. Where it passes the gate it becomes the champion. With ``against_champion`` the gate is
    the one that content gates had before: at most 2 points above the champion.
    """
    champion, rates = base, []
    for _ in range(rounds):
        challenger = champion + step
        passes = _passes(challenger, rng, base) if not against_champion else _passed_before(challenger, champion, rng)
        champion = challenger if passes else champion
        rates.append(champion)
    return rates


def _passes(challenger: float, rng: np.random.Generator, base: float = BASE) -> bool:
    return gate(_sampled(challenger, base, rng), ConductLimits()).verdict == "passed"


def _passed_before(challenger: float, champion: float, rng: np.random.Generator) -> bool:
    return not_worse("conduct", "are improper", _sampled(challenger, champion, rng), ShareLimits()).verdict == "passed"


def _sampled(challenger: float, other: float, rng: np.random.Generator) -> Shares:
    """What an evaluation measures of two models with these true rates, whose replies are independent."""
    ours, theirs = rng.random(REPLIES) < challenger, rng.random(REPLIES) < other
    return Shares(
        challenger=float(ours.mean()), champion=float(theirs.mean()), base=float(theirs.mean()), n=REPLIES,
        more=int((ours & ~theirs).sum()), fewer=int((theirs & ~ours).sum()),
    )  # fmt: skip


def _final(step: float, runs: int, *, against_champion: bool) -> list[float]:
    rngs: Iterable[np.random.Generator] = (np.random.default_rng([FIRST_SEED + run, round(step * 1e4)]) for run in range(runs))
    return [100 * (drift(BASE, step, ROUNDS, rng, against_champion=against_champion)[-1] - BASE) for rng in rngs]


def _mean(name: str, values: Sequence[float]) -> Figure:
    half_width = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    mean = float(np.mean(values))
    return Figure(name, mean, mean - half_width, mean + half_width, f"points after {ROUNDS} rounds at the worst step")
