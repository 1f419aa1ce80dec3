"""Intervals that several audits share: of a mean over clusters, of a paired difference of shares, and on the logit scale."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, t


@dataclass(frozen=True)
class Interval:
    """A figure with the bounds of its interval, on ``n`` units."""

    figure: float
    low: float
    high: float
    n: int


def mean_interval(values: np.ndarray, confidence: float) -> Interval:
    """Two-sided Student interval of a mean of independent units; infinitely wide for fewer than two."""
    n = len(values)
    figure = float(np.mean(values)) if n else 0.0
    if n < 2:
        return Interval(figure, -math.inf, math.inf, n)
    reach = float(t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(figure, figure - reach, figure + reach, n)


def paired_shares(ours: np.ndarray, theirs: np.ndarray, confidence: float) -> Interval:
    """The difference of two shares over the same units, with one-sided bounds of ``confidence`` each.

    The bounds are those of Agresti and Min (2005), "Simple improved confidence intervals for comparing matched proportions": Wald's after
    half a unit has been added to each cell of the two-by-two table. The figure is the plain difference.
    """
    n = len(ours)
    ours, theirs = np.asarray(ours, bool), np.asarray(theirs, bool)
    more, fewer = float((ours & ~theirs).sum()), float((~ours & theirs).sum())
    size = n + 2
    center = (more - fewer) / size
    variance = ((more + fewer + 1) - (more - fewer) ** 2 / size) / size**2
    reach = float(norm.ppf(confidence)) * math.sqrt(variance)
    return Interval((more - fewer) / n if n else 0.0, center - reach, center + reach, n)


def logit_interval(figure: float, redrawn: np.ndarray, units: int, alpha: float) -> Interval:
    """A share's two-sided interval of coverage ``1 - alpha`` from its bootstrap, symmetric on the logit scale.

    The spread of ``redrawn`` is widened for the few clusters that were resampled (``units``): by sqrt(units / (units - 1)) and Student's
    quantile. Percentiles of refitted heads would not do: a resample holds fewer different recruiters, and pulls the share to one half.
    """
    if units < 2 or len(redrawn) < 2:
        return Interval(figure, 0.0, 1.0, units)
    edge = 1e-4
    center = float(logit(np.clip(figure, edge, 1 - edge)))
    spread = float(np.std(logit(np.clip(redrawn, edge, 1 - edge)), ddof=1)) * math.sqrt(units / (units - 1))
    reach = float(t.ppf(1 - alpha / 2, units - 1)) * spread
    return Interval(figure, float(expit(center - reach)), float(expit(center + reach)), units)
