"""Means of paired differences whose pairs share names and prompts, and the number of pairs that shows them to be small."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.audits.statistics.intervals import Interval

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class PairedMean:
    """A mean difference with its 90% interval, two-sided p-value, standard error and degrees of freedom."""

    interval: Interval
    p: float
    error: float
    degrees: int


def clustered_mean(differences: "np.ndarray", names: Sequence[int], prompts: Sequence[int], *, share: bool) -> PairedMean:
    """The mean of paired differences with a standard error clustered by name and by prompt.

    The variance is that of Cameron, Gelbach and Miller (2011), "Robust Inference with Multiway Clustering": by name, plus by prompt, minus
    by both, each with the factor G / (G - 1). Where it is smaller than the variance of independent pairs, which happens by chance,
    that one is taken. Student's t has the smaller number of clusters less one degrees of freedom.

    Parameters
    ----------
    differences : shape ``(n,)``
    names, prompts : the cluster of each pair
    share : the outcome is 0 or 1; then half a unit is added to each discordant cell, as Agresti and Min (2005) do, so that no
        difference in any pair does not give an interval of no width
    """
    import numpy as np
    from scipy.stats import t

    n, figure = len(differences), float(np.mean(differences)) if len(differences) else 0.0
    smallest = min(len(set(names)), len(set(prompts)))
    if n < 2 or smallest < 2:
        return PairedMean(Interval(figure=figure, low=-math.inf, high=math.inf, n=n), 1.0, math.inf, 0)
    away = np.asarray(differences, float) - figure
    by_name, by_prompt = _clustered(away, names), _clustered(away, prompts)
    by_both = _clustered(away, [hash(key) for key in zip(names, prompts, strict=True)])
    independent = float(np.var(away, ddof=1)) / n
    variance = max(by_name + by_prompt - by_both, independent)
    if share:
        variance = max(variance, 1 / (n + 2) ** 2)
    error = math.sqrt(variance)
    half_width = float(t.ppf(0.95, smallest - 1)) * error
    p = 1.0 if figure == 0 else float(2 * t.sf(abs(figure) / error, smallest - 1)) if error else 0.0
    return PairedMean(Interval(figure=figure, low=figure - half_width, high=figure + half_width, n=n), p, error, smallest - 1)


def _clustered(away: "np.ndarray", clusters: Sequence[int]) -> float:
    import numpy as np

    _, index = np.unique(clusters, return_inverse=True)
    sums = np.bincount(index, weights=away)
    return float((sums**2).sum() / len(away) ** 2 * len(sums) / (len(sums) - 1)) if len(sums) > 1 else 0.0


def pairs_needed(variances: Sequence[float], differences: Sequence[float], miss: float, sides: int = 2) -> int:
    """The pairs at which equal treatment is shown within ± δ_k in every comparison at once, except with probability ``miss``.

    One comparison without a true difference is not shown to be within ± δ with probability sides · (1 - Φ(δ √n / σ - z(.95))) (Chow, Shao
    and Wang, 2008, "Sample Size Calculations in Clinical Research", section 3.2). The smallest n is taken at which these probabilities sum
    to ``miss``, by the union bound. With one comparison that is n = (z(.95) + z(1 - miss / sides))² σ² / δ²: for σ² = .2, δ = .05 and a
    miss of .2, 495 for one side and 686 for two.
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.stats import norm

    ratios = np.asarray(differences, float) / np.sqrt(np.asarray(variances, float).clip(1e-12))
    least = float(ratios.min())

    def alone(of: int) -> float:
        return float(norm.ppf(0.95) + norm.ppf(1 - miss / (sides * of))) / least

    def excess(root: float) -> float:
        return float(sides * norm.sf(root * ratios - norm.ppf(0.95)).sum()) - miss

    root = float(brentq(excess, 0.99 * alone(1), 1.01 * alone(len(ratios))))
    return math.ceil(root**2 - 1e-6)


def detectable(error: float, degrees: int, comparisons: int, alpha: float = 0.05, power: float = 0.95) -> float:
    """The difference that is found with probability ``power`` although ``comparisons`` are made: the first step of Holm's procedure."""
    from scipy.stats import t

    if not degrees:
        return math.inf
    return float((t.ppf(1 - alpha / (2 * comparisons), degrees) + t.ppf(power, degrees)) * error)
