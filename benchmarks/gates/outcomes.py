"""Do the impact ratios agree with fairlearn and a published study, and how often does the four-fifths rule by bounds err?

The error rates are those of two categories whose true ratio is known, at several sizes and base rates; seeds from 10,000 on. About two
minutes on one core, most of it fairlearn.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from trainers.audits.outcomes.impact_ratio import CONFIDENCE, Category, Count, four_fifths, katz_interval, ratio_table

SEED = 10_000
SIZES = ((30, 30), (30, 300), (300, 30), (200, 200), (1000, 1000))
RATES = (0.1, 0.5, 0.9)  # of the category with the higher rate


def figures(quick: bool) -> list[Figure]:
    """All figures; with ``quick`` a twentieth of the runs."""
    return [_agreement(50 if quick else 1_000), *_callback_study(), *_error_rates(500 if quick else 10_000)]


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


def _error_rates(runs: int) -> Iterator[Figure]:
    """The worst error rate over sizes and base rates, and the power at true ratios of 1 and .6 with equal sizes."""
    false_passes, false_failures = [], []
    for size in SIZES:
        for number, rate in enumerate(RATES):
            passed, failed = _verdicts(0.8, rate, size, runs, SEED + number)
            false_passes.append(passed)
            false_failures.append(failed)
    yield _share("four_fifths_false_pass", max(false_passes), runs, "<=0.05")
    yield _share("four_fifths_false_fail", max(false_failures), runs, "<=0.05")
    for n in (100, 400, 1000):
        yield _share(f"four_fifths_passes_equal_{n}", _verdicts(1.0, 0.5, (n, n), runs, SEED)[0], runs)
        yield _share(f"four_fifths_fails_0.6_{n}", _verdicts(0.6, 0.5, (n, n), runs, SEED)[1], runs)


def _verdicts(ratio: float, rate: float, size: tuple[int, int], runs: int, seed: int) -> tuple[float, float]:
    """Shares of *passed* and *failed* for two categories; the one observed with the higher rate is the reference, as in a table."""
    rng = np.random.default_rng((seed, *size, int(100 * ratio)))
    lower, higher = rng.binomial(size[0], rate * ratio, runs), rng.binomial(size[1], rate, runs)
    drawn = Counter(zip(lower.tolist(), higher.tolist(), strict=True))
    verdicts: Counter[str] = Counter()
    for (a, b), times in drawn.items():
        one, other = sorted((Count(size[0], a), Count(size[1], b)), key=lambda count: (count.selected / count.n, count.n))
        verdicts[four_fifths(one, other, 1 - CONFIDENCE) if other.selected else "insufficient"] += times
    return verdicts["passed"] / runs, verdicts["failed"] / runs


def _share(name: str, value: float, runs: int, reach: str = "") -> Figure:
    from scipy.stats import beta

    k = round(value * runs)
    low = float(beta.ppf(0.025, k, runs - k + 1)) if k else 0.0
    high = float(beta.ppf(0.975, k + 1, runs - k)) if k < runs else 1.0
    return Figure(name, value, low, high, "share", reach)
