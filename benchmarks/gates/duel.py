"""Error rates and cost of the duel: synthetic judgments through the real :func:`trainers.audits.duel.assess`.

One judgment in five is a tie. Twelve recruiters judge in random order, each with a win rate of their own around the challenger's; with
``own = 0`` all agree. The fixed-n test that the cost is compared with is the one-sided z-test of the same error rate with power .8.
"""

import math
import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.figures import Figure
from trainers.audits.duel import DuelJudgment, DuelRule, DuelState, assess

SEED = 10_000
TIES = 0.2
RULE = DuelRule()


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
    return [
        share("duel_false_promotion", [each.outcome == "better" for each in null], "<=0.05"),
        share("duel_false_promotion_own_tastes", [each.outcome == "better" for each in own], "<=0.05"),
        Figure("duel_cost_ratio", statistics.median(needed) / fixed, None, None, f"median of {few} over fixed n = {fixed}", "<=1.0"),
        Figure("duel_median_judgments_060", statistics.median(needed), *quartiles(needed), "judgments; quartiles"),
        Figure("duel_median_judgments_075", statistics.median(each.counted for each in strong), None, None, "judgments"),
        share("duel_missed_improvement_060", [each.outcome != "better" for each in asked]),
        Figure("duel_futile_median_050", *middle([each.counted for each in null if each.outcome == "futile"]), "judgments; quartiles"),
        share("duel_harm_found_025", [each.outcome == "harm" for each in harmed]),
        share("duel_harm_false", [each.outcome == "harm" for each in unharmed], "<=0.05"),
        share("duel_harm_at_margin", [each.outcome == "harm" for each in at_margin], "<=0.05"),
    ]


def duel(
    win_rate: float, seed: int, rule: DuelRule = RULE, *, own: float = 0.0, groups: tuple[float, float] | None = None, recruiters: int = 12
) -> DuelState:
    """One duel to its end.

    Parameters
    ----------
    own : standard deviation of the recruiters' own win rates; their mean is exactly ``win_rate``
    groups : the win rates among the candidates of two equally large groups, instead of ``win_rate``
    """
    rng = np.random.default_rng(seed)
    tastes = rng.normal(0, own, recruiters)
    rates = np.clip(win_rate + tastes - tastes.mean(), TIES / 2, 1 - TIES / 2)
    who = rng.integers(recruiters, size=rule.budget)
    group = rng.integers(2, size=rule.budget)
    mean = rates[who] if groups is None else np.array(groups)[group]
    u = rng.random(rule.budget)
    outcomes = np.where(u < mean - TIES / 2, 1.0, np.where(u < mean + TIES / 2, 0.5, 0.0))
    return assess(
        [
            DuelJudgment.model_construct(
                sequence=i + 1,
                recruiter=f"r-{who[i]}",
                outcome=float(outcomes[i]),
                live=False,
                groups={} if groups is None else {"group": "ab"[group[i]]},
            )
            for i in range(rule.budget)
        ],
        rule,
    )


def fixed_n(win_rate: float, alpha: float, power: float = 0.8) -> int:
    """Judgments of the one-sided z-test of a mean above one half, with ties."""
    from scipy.stats import norm

    null = math.sqrt((1 - TIES) / 4)
    alternative = math.sqrt((1 - TIES) / 4 - (win_rate - 0.5) ** 2)
    needed = float(norm.ppf(1 - alpha)) * null + float(norm.ppf(power)) * alternative
    return math.ceil((needed / (win_rate - 0.5)) ** 2)


def share(name: str, found: Sequence[bool], reach: str = "") -> Figure:
    """A share of runs with its exact 95 % interval (Clopper and Pearson, 1934)."""
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
