"""Error rates and cost of the duel: synthetic judgments through the real :func:`trainers.audits.duel.assess`.

One judgment in five is a tie. Twelve recruiters judge in random order, each with a win rate of their own around the challenger's; with
``own = 0`` all agree. The fixed-n test that the cost is compared with is the one-sided z-test of the same error rate with power .8.
"""

import statistics
from collections.abc import Sequence

from benchmarks.figures import Figure
from trainers.audits.simulation.duels import RULE, duel, fixed_n

SEED = 10_000


def figures(quick: bool) -> list[Figure]:
    runs = 200 if quick else 10_000
    few = 100 if quick else 1_000
    null = [duel(0.5, SEED + i) for i in range(runs)]
    own = [duel(0.5, SEED + i, own=0.15) for i in range(few)]
    better = [duel(0.6, SEED + i, RULE.model_copy(update={"least": 0.501, "futility_alpha": 1e-12, "budget": 5000})) for i in range(few)]
    asked = [duel(0.6, SEED + i) for i in range(few)]
    strong = [duel(0.75, SEED + i) for i in range(few)]
    needed = [each.counted for each in better]
    fixed = fixed_n(0.6, RULE.alpha)
    harmed = [duel(0.6, SEED + i, groups=(0.75, 0.25)) for i in range(few)]
    unharmed = [duel(0.6, SEED + i, groups=(0.6, 0.6)) for i in range(few)]
    at_margin = [duel(0.5, SEED + i, groups=(0.6, 0.4)) for i in range(few)]
    preferred = [duel(0.6, SEED + i, groups=(0.8, 0.4)) for i in range(few)]  # by the others, and at the margin for one group
    return [
        share("duel_false_promotion", [each.outcome == "better" for each in null], "<=0.05"),
        share("duel_false_promotion_own_tastes", [each.outcome == "better" for each in own], "<=0.05"),
        Figure("duel_cost_ratio", statistics.median(needed) / fixed, None, None, f"median of {few} over fixed n = {fixed}", "<=1.0"),
        Figure("duel_median_judgments_060", statistics.median(needed), *quartiles(needed), "judgments; quartiles"),
        Figure("duel_median_judgments_075", statistics.median(each.counted for each in strong), None, None, "judgments"),
        share("duel_missed_improvement_060", [each.outcome != "better" for each in asked]),
        Figure("duel_futile_median_050", *middle([each.counted for each in null if each.outcome == "futile"]), "judgments; quartiles"),
        share("duel_harm_found_025", [each.outcome == "harm" for each in harmed]),
        share("duel_missed_bias_025", [each.outcome == "better" for each in harmed], "<=0.05"),
        share("duel_missed_bias_at_margin", [each.outcome == "better" for each in preferred], "<=0.05"),
        share("duel_harm_false", [each.outcome == "harm" for each in unharmed], "<=0.05"),
        share("duel_harm_at_margin", [each.outcome == "harm" for each in at_margin], "<=0.05"),
    ]


def share(name: str, found: Sequence[bool], reach: str = "") -> Figure:
    """A share of runs with its exact 95% interval (Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    n, k = len(found), sum(found)
    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return Figure(name, k / n, low, high, f"of {n}", reach)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    return (statistics.median(values), *quartiles(values))
