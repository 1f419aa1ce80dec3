"""Two sides timed in turn, so that both meet the same machine: the ratio of their speeds, with an interval over the rounds."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t

from benchmarks.figures import Figure


def speed_ratio(name: str, ours: Sequence[float], theirs: Sequence[float], reach: str, about: str) -> Figure:
    """``theirs / ours``, the geometric mean over rounds of seconds, with the 95 % interval of Student's t on the logarithm."""
    logarithms = np.log(np.asarray(theirs) / np.asarray(ours))
    mean, error = float(logarithms.mean()), float(logarithms.std(ddof=1)) / len(logarithms) ** 0.5
    width = float(t.ppf(0.975, len(logarithms) - 1)) * error
    return Figure(name, float(np.exp(mean)), float(np.exp(mean - width)), float(np.exp(mean + width)), about, reach)
