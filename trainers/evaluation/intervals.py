"""Intervals of means and shares over prompts.

Means have percentile bootstrap intervals (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13). Those of a share with
no case, or with nothing but cases, would have no width, so shares have exact ones.
"""

import math
from collections.abc import Sequence

import numpy as np

from trainers.audits.statistics.intervals import Interval, exact_share
from trainers.evaluation.measure import CONFIDENCE


def mean(values: np.ndarray, resamples: int, seed: int) -> Interval:
    """The mean of independent ``values``, shape ``(n,)``, with its 95% interval; unbounded for fewer than two.

    One value a prompt: for the difference of two models on the same prompts pass the differences.
    """
    values = np.asarray(values, float)
    n = len(values)
    if n < 2:
        return Interval(figure=float(values.mean()) if n else 0.0, low=-math.inf, high=math.inf, n=n)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    low, high = np.quantile(counts @ values / n, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(figure=float(values.mean()), low=float(low), high=float(high), n=n)


def share(found: Sequence[bool]) -> Interval:
    """The share of independent cases, ``(n,)``, with its exact 95% interval (Clopper and Pearson 1934)."""
    return exact_share(sum(found), len(found), (1 + CONFIDENCE) / 2)
