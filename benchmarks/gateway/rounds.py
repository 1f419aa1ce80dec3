"""Figures over rounds, in each of which all sides take their turn."""

from collections.abc import Sequence

import numpy as np

from benchmarks.figures import Figure

RESAMPLES = 10_000


def ratio_of_means(name: str, ours: Sequence[float], theirs: Sequence[float], unit: str, reach: str = "") -> Figure:
    """Mean of ours over mean of theirs, with the 95 % percentile interval of a bootstrap over rounds.

    Added latency is a difference and can be negative in a round, so that ratios of single rounds say nothing.
    """
    a, b = np.asarray(ours), np.asarray(theirs)
    rounds = np.random.default_rng(0).integers(len(a), size=(RESAMPLES, len(a)))
    low, high = np.quantile(a[rounds].mean(1) / b[rounds].mean(1), (0.025, 0.975))
    return Figure(name, float(a.mean() / b.mean()), float(low), float(high), unit, reach)


def over_rounds(name: str, values: Sequence[float], unit: str) -> Figure:
    """The median round; its interval is the lowest and the highest."""
    return Figure(name, float(np.median(values)), min(values), max(values), unit)
