"""Selection rates, scoring rates and impact ratios of New York City's Local Law 144, with the four-fifths rule by confidence bounds.

Definitions are those of the Rules of the City of New York, title 6 (6 RCNY § 5-300 to § 5-304). Pure functions of counts; the records
come from ``trainers.audits.outcomes.tables``.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from storage.events import Verdict

FOUR_FIFTHS = 0.8  # 29 CFR § 1607.4 D
CONFIDENCE = 0.95  # of each one-sided bound
EXCLUDED_BELOW = 0.02  # 6 RCNY § 5-301 (d)
MINIMUM = 30  # people in a category: with fewer, the bounds err more often than they claim (benchmarks.gates.outcomes)
MINIMUM_SELECTED = 10  # of them, in the category that others are compared with

Category = tuple[str, ...]  # one group for each attribute of the table: ("female", "Asian")
Basis = Literal["selection", "scoring"]


class Count(NamedTuple):
    """People in a category, and how many of them were selected, or scored above the median."""

    n: int
    selected: int


class CategoryRow(BaseModel):
    """A category of people.

    Attributes
    ----------
    category : a group for each attribute of the table
    n, selected : people, and those selected (or with a score above the median)
    rate : selected / n
    share : of the people whose category is known
    excluded : below ``EXCLUDED_BELOW``: named with n and rate, without an impact ratio
    ratio : the rate divided by the highest rate of a category that is not excluded
    low, high : one-sided bounds of the ratio to the category that the table names in ``compared_with``; Katz et al. (1978)
    verdict : of the four-fifths rule; None for the category that others are compared with, and for excluded ones
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: Category
    n: int
    selected: int
    rate: float
    share: float
    excluded: bool
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict | None


class RatioTable(BaseModel):
    """The impact ratios of one attribute, or of combinations of several.

    Attributes
    ----------
    attributes : one, such as sex, or several for intersectional categories
    basis : selection rates or scoring rates
    n, unknown : people whose category is known, and those who are left out because it is not
    reference : the category with the highest rate among those not excluded, to which the rule's impact ratios refer
    compared_with : the category with the highest rate among those of at least ``MINIMUM`` people, to which the bounds refer
    verdict : *passed* when every category that is not excluded passes; *failed* when one is below four fifths after Bonferroni's
        correction for all pairs of categories, since the highest rate is chosen after the fact; *insufficient* otherwise
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attributes: tuple[str, ...]
    basis: Basis
    n: int
    unknown: int
    reference: Category | None
    compared_with: Category | None
    rows: tuple[CategoryRow, ...]
    verdict: Verdict
    words: str


def ratio_table(attributes: Sequence[str], basis: Basis, counts: Mapping[Category, Count], unknown: int) -> RatioTable:
    """The table of these counts; ``unknown`` people have no known category."""
    counts = {category: count for category, count in sorted(counts.items()) if count.n}
    total = sum(count.n for count in counts.values())
    included = {category: count for category, count in counts.items() if count.n >= EXCLUDED_BELOW * total}
    reference = _highest(included)
    large = {category: count for category, count in included.items() if count.n >= MINIMUM}
    compared = _highest(large)
    best = included[reference].selected / included[reference].n if reference else 0.0
    base = large[compared] if compared is not None and large[compared].selected else None
    rows = []
    for category, count in counts.items():
        rate, kept = count.selected / count.n, category in included
        low: float | None = None
        high: float | None = None
        verdict: Verdict | None = "insufficient" if kept else None
        if kept and base is not None and category == compared:
            verdict = None
        elif kept and base is not None:
            low, high = katz_interval(count, base, CONFIDENCE)
            verdict = four_fifths(count, base, 1 - CONFIDENCE)
        rows.append(
            CategoryRow(
                category=category,
                n=count.n,
                selected=count.selected,
                rate=rate,
                share=count.n / total,
                excluded=not kept,
                ratio=rate / best if kept and best else None,
                low=low,
                high=high,
                verdict=verdict,
            )
        )
    verdict_of_all, words = _overall(rows, included, compared)
    return RatioTable(
        attributes=tuple(attributes),
        basis=basis,
        n=total,
        unknown=unknown,
        reference=reference,
        compared_with=compared,
        rows=tuple(rows),
        verdict=verdict_of_all,
        words=words,
    )


def katz_interval(count: Count, reference: Count, confidence: float) -> tuple[float, float]:
    """Bounds of the ratio of two rates, one-sided at ``confidence`` each.

    Log method of Katz, Baptista, Azen and Pike (1978), "Obtaining confidence intervals for the risk ratio in cohort studies". Where
    nobody or everybody of one of the two was selected, half a person is added to all four cells.
    """
    a, n, b, m = _without_empty_cells(count, reference)
    center = math.log((a / n) / (b / m))
    half_width = NormalDist().inv_cdf(confidence) * math.sqrt(1 / a - 1 / n + 1 / b - 1 / m)
    return math.exp(center - half_width), math.exp(center + half_width)


def four_fifths(count: Count, reference: Count, alpha: float) -> Verdict:
    """Is the ratio of the two rates above four fifths? One-sided at ``alpha`` for each answer.

    *passed* or *failed* needs both the bound of :func:`katz_interval` and :func:`ratio_score`. The bound alone errs too often where rates
    are near one or one category is much smaller; without a continuity correction the score test does too, since counts are discrete. Fewer
    than ``MINIMUM`` people, or fewer than ``MINIMUM_SELECTED`` selected in the reference, give *insufficient*. The exact error rates are in
    ``benchmarks.gates.outcomes``.
    """
    if min(count.n, reference.n) < MINIMUM or reference.selected < MINIMUM_SELECTED:
        return "insufficient"
    low, high = katz_interval(count, reference, 1 - alpha)
    z, quantile = ratio_score(count, reference, FOUR_FIFTHS), NormalDist().inv_cdf(1 - alpha)
    if low > FOUR_FIFTHS and z > quantile:
        return "passed"
    return "failed" if high < FOUR_FIFTHS and z < -quantile else "insufficient"


def ratio_score(count: Count, reference: Count, ratio: float) -> float:
    """The score statistic of "the ratio of the two rates is ``ratio``", positive where it is higher, with a continuity correction.

    Miettinen and Nurminen (1985), "Comparative analysis of two rates", with the rates' closed form under the hypothesis. The correction is
    that of Yates (1934) for two rates, (1/n + 1/m) / 2, with the reference's part multiplied by the ratio, as its rate is: half a person in
    each category, against the verdict.
    """
    a, n, b, m = count.selected, count.n, reference.selected, reference.n
    total = n + m
    linear = n * ratio + a + m + b * ratio
    q = (linear - math.sqrt(max(linear**2 - 4 * total * ratio * (a + b), 0.0))) / (2 * total * ratio)
    p = ratio * q
    variance = (p * (1 - p) / n + ratio**2 * q * (1 - q) / m) * total / (total - 1)
    difference = a / n - ratio * b / m
    corrected = math.copysign(max(abs(difference) - (1 / n + ratio / m) / 2, 0.0), difference)
    return corrected / math.sqrt(variance) if variance > 0 else 0.0


def _without_empty_cells(count: Count, reference: Count) -> tuple[float, float, float, float]:
    a, n, b, m = count.selected, count.n, reference.selected, reference.n
    if 0 in (a, n - a, b, m - b):
        return a + 0.5, n + 1.0, b + 0.5, m + 1.0
    return float(a), float(n), float(b), float(m)


def _highest(counts: Mapping[Category, Count]) -> Category | None:
    """The category with the highest rate; of several the one with most people."""
    return max(counts, key=lambda category: (counts[category].selected / counts[category].n, counts[category].n), default=None)


def _overall(rows: Sequence[CategoryRow], included: Mapping[Category, Count], compared: Category | None) -> tuple[Verdict, str]:
    """The verdict of a table, and why."""
    if not rows:
        return "insufficient", "Nobody's group is recorded."
    if len(included) < 2:
        return "insufficient", "Only one category has people: there is nothing to compare."
    if compared is None:
        return "insufficient", f"No category has {MINIMUM} people."
    if not included[compared].selected:
        return "insufficient", f"Nobody was selected in the categories of at least {MINIMUM} people."
    pairs = len(included) * (len(included) - 1) // 2
    alpha = (1 - CONFIDENCE) / pairs
    failed = [each for each in included if each != compared and four_fifths(included[each], included[compared], alpha) == "failed"]
    if failed:
        names = ", ".join(" / ".join(category) for category in failed)
        corrected = f" ({pairs} pairs of categories, Bonferroni)" if pairs > 1 else ""
        return "failed", f"Below four fifths with {CONFIDENCE:.0%} confidence{corrected}: {names}."
    verdicts = {row.verdict for row in rows if row.verdict is not None}
    if verdicts == {"passed"}:
        return "passed", f"Every category is above four fifths with {CONFIDENCE:.0%} confidence."
    return "insufficient", "The data neither show that every category is above four fifths nor that one is below."
