"""How far do recruiters agree where several judged the same pair? Krippendorff's alpha, and shares of equal choices.

Alpha compares the disagreement of answers to one pair with that of answers drawn from all pairs: 1 is perfect, 0 is chance, below 0 is
systematic disagreement. Levels count as ordered: a slight preference is nearer to a tie than a significant one. After Krippendorff (2011),
"Computing Krippendorff's alpha-reliability".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_REPEATS = 50  # answers beyond the first of their pair, below which alpha says nothing


@dataclass(frozen=True)
class Agreement:
    """Agreement on pairs with several judgments.

    Attributes
    ----------
    pairs, judgments : pairs judged by several recruiters, and their judgments
    repeats : judgments beyond the first of each pair
    same_choice : share of pairs of judgments with the same choice (first, tie or second); None without repeats
    alpha : None below ``LEAST_REPEATS`` repeats, or where all answers are equal
    by_recruiter : each one's share of equal choices with others, and with how many judgments it was compared
    """

    pairs: int
    judgments: int
    repeats: int
    same_choice: float | None
    alpha: float | None
    by_recruiter: dict[str, tuple[float, int]]


def agreement(pair: np.ndarray, recruiter: Sequence[str], level: np.ndarray) -> Agreement:
    """The agreement of judgments with these pairs, recruiters and levels (-4 … 4 towards A), as arrays of length n.

    A recruiter's later judgments of a pair replace the earlier ones.
    """
    latest = {(int(key), who): value for key, who, value in zip(pair, recruiter, np.asarray(level).tolist(), strict=True)}
    units: dict[int, list[tuple[str, int]]] = {}
    for (key, who), value in latest.items():
        units.setdefault(key, []).append((who, value))
    several = [unit for unit in units.values() if len(unit) > 1]
    equal = compared = 0
    by_recruiter: dict[str, list[int]] = {}
    for unit in several:
        for i, (who, value) in enumerate(unit):
            others = [np.sign(other) == np.sign(value) for j, (_, other) in enumerate(unit) if j != i]
            equal, compared = equal + sum(others), compared + len(others)
            tally = by_recruiter.setdefault(who, [0, 0])
            tally[0] += sum(others)
            tally[1] += len(others)
    judgments = sum(map(len, several))
    repeats = judgments - len(several)
    return Agreement(
        pairs=len(several),
        judgments=judgments,
        repeats=repeats,
        same_choice=float(equal / compared) if compared else None,
        alpha=krippendorff_alpha([[value for _, value in unit] for unit in several]) if repeats >= LEAST_REPEATS else None,
        by_recruiter={who: (same / of, of) for who, (same, of) in sorted(by_recruiter.items())},
    )


def krippendorff_alpha(units: Sequence[Sequence[int]]) -> float | None:
    """Krippendorff's alpha of ordered answers, each unit being the answers to one question; None where all are equal.

    Units with a single answer are left out.
    """
    values = sorted({value for unit in units if len(unit) > 1 for value in unit})
    place = {value: i for i, value in enumerate(values)}
    coincidences = np.zeros((len(values), len(values)))
    for unit in units:
        if len(unit) > 1:
            counts = np.bincount([place[value] for value in unit], minlength=len(values)).astype(float)
            coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = coincidences.sum(axis=1)
    total = totals.sum()
    ranks = np.cumsum(totals) - totals / 2
    distances = (ranks[:, None] - ranks[None, :]) ** 2  # ordinal: answers between two values lie between them
    expected = float((np.outer(totals, totals) * distances).sum())
    if expected == 0:
        return None
    return float(1 - (total - 1) * (coincidences * distances).sum() / expected)
