"""Do the impact ratios agree with fairlearn and a published study, and how often does the four-fifths rule by bounds err?

The error rates are those of two categories whose true ratio is four fifths, summed over all possible tables, for sizes from 30 to 1,000
and base rates from .02 to 1. They are exact, so the worst cell is no maximum of noisy values. The random tables compared with fairlearn
have seeds from 10,000 on. About three minutes on one core.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from trainers.audits.outcomes.impact_ratio import CONFIDENCE, FOUR_FIFTHS, Category, Count, four_fifths, katz_interval, ratio_table

SEED = 10_000
SIZES = (30, 45, 60, 100, 200, 500, 1000)  # of each of the two categories, in all combinations
RATES = tuple(percent / 100 for percent in range(2, 101, 2))  # of the category with the higher rate


def figures(quick: bool) -> list[Figure]:
    """All figures; with ``quick`` fewer tables and sizes."""
    return [_agreement(50 if quick else 1_000), *_callback_study(), *_error_rates(quick)]


def _agreement(tables: int) -> Figure:
    """Tables whose rates and ratios equal fairlearn's to 1e-9."""
    agreed = sum(agrees_with_fairlearn(np.random.default_rng(SEED + number)) for number in range(tables))
    return Figure("impact_ratio_agrees", agreed / tables, None, None, "share of random tables", ">=1")


def agrees_with_fairlearn(rng: np.random.Generator) -> bool:
    """Whether a random table of two to seven categories has fairlearn's selection rates, impact ratios and parity ratio."""
    from fairlearn.metrics import MetricFrame, demographic_parity_ratio, selection_rate  # type: ignore[import-untyped]

    categories, people = int(rng.integers(2, 8)), int(rng.integers(60, 600))
    groups = rng.integers(0, categories, people)
    chosen = rng.random(people) < rng.uniform(0.05, 0.95, categories)[groups]
    frame = MetricFrame(metrics=selection_rate, y_true=chosen, y_pred=chosen, sensitive_features=groups)
    counts: dict[Category, Count] = {
        (str(group),): Count(int((groups == group).sum()), int(chosen[groups == group].sum())) for group in range(categories)
    }
    table = ratio_table(("group",), "selection", counts, 0)
    if any(row.excluded for row in table.rows) or not chosen.any():
        return True  # fairlearn has no rule for small categories; see the tests
    rates = np.array([frame.by_group[int(row.category[0])] for row in table.rows])
    ratios = np.array([row.ratio for row in table.rows], float)
    parity = demographic_parity_ratio(chosen, chosen, sensitive_features=groups)
    return bool(
        np.abs(np.array([row.rate for row in table.rows]) - rates).max() <= 1e-9
        and np.abs(ratios - rates / rates.max()).max() <= 1e-9
        and abs(ratios.min() - parity) <= 1e-9
    )


def callback_counts(file: Path) -> dict[str, Count]:
    """The résumés and callbacks of Bertrand and Mullainathan (2004) by race of the name."""
    n: Counter[str] = Counter()
    selected: Counter[str] = Counter()
    with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            n[row["race"]] += 1
            selected[row["race"]] += int(row["received_callback"])
    return {race: Count(n[race], selected[race]) for race in n}


def callback_file() -> Path | None:
    """The shared data beside the repository, if it is there."""
    root = Path(__file__).resolve().parents[2]
    files = [folder / "shared" / "data" / "fairness" / "resume_callback_openintro.csv.gz" for folder in (root.parent, root.parent.parent)]
    return next((file for file in files if file.is_file()), None)


def _callback_study() -> Iterator[Figure]:
    if (file := callback_file()) is None:
        return
    counts = callback_counts(file)
    low, high = katz_interval(counts["black"], counts["white"], (1 + CONFIDENCE) / 2)
    table = ratio_table(("race",), "selection", {(race,): count for race, count in counts.items()}, 0)
    yield Figure("callback_ratio", min(row.ratio for row in table.rows if row.ratio is not None), low, high, "1")


def _error_rates(quick: bool) -> Iterator[Figure]:
    """The worst error rates over all sizes and base rates, and the power at true ratios of 1 and .6 with equal sizes; all exact."""
    sizes = SIZES[:3] if quick else SIZES
    false_pass = false_fail = 0.0
    for size in product(sizes, sizes):
        for passed, failed in verdict_rates(size, FOUR_FIFTHS, RATES):
            false_pass, false_fail = max(false_pass, passed), max(false_fail, failed)
    unit = f"exact, worst of {len(sizes) ** 2 * len(RATES)} cells"
    yield Figure("four_fifths_false_pass", false_pass, None, None, unit, "<=0.05")
    yield Figure("four_fifths_false_fail", false_fail, None, None, unit, "<=0.05")
    for n in (100,) if quick else (100, 400, 1000):
        [(passes, _)], [(_, fails)] = (verdict_rates((n, n), ratio, (0.5,)) for ratio in (1.0, 0.6))
        yield Figure(f"four_fifths_passes_equal_{n}", passes, None, None, "exact, half of the reference selected")
        yield Figure(f"four_fifths_fails_0.6_{n}", fails, None, None, "exact, half of the reference selected")


def verdict_rates(size: tuple[int, int], ratio: float, rates: Sequence[float]) -> list[tuple[float, float]]:
    """Exact probabilities of *passed* and *failed* for two categories of these sizes, for each rate of the second one.

    The first one's rate is ``ratio`` times that. As in a table, the category observed with the higher rate is the reference. The
    probabilities are sums over all possible tables, so they have no sampling error.
    """
    from scipy.stats import binom

    n, m = size
    passed, failed = np.zeros((n + 1, m + 1)), np.zeros((n + 1, m + 1))
    for a, b in product(range(n + 1), range(m + 1)):
        one, other = sorted((Count(n, a), Count(m, b)), key=lambda count: (count.selected / count.n, count.n))
        verdict = four_fifths(one, other, 1 - CONFIDENCE) if other.selected else "insufficient"
        passed[a, b], failed[a, b] = verdict == "passed", verdict == "failed"
    first = binom.pmf(np.arange(n + 1)[:, None], n, ratio * np.asarray(rates))
    second = binom.pmf(np.arange(m + 1)[:, None], m, np.asarray(rates))
    found = (np.einsum("ar,ab,br->r", first, each, second, optimize=True) for each in (passed, failed))
    return list(zip(*(each.tolist() for each in found), strict=True))
