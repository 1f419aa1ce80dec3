"""How well a reward predicts which of two replies is preferred: accuracy, AUC, calibration, with intervals over prompts.

Everything is computed from margins, chosen minus rejected, so exchanging the two sides of a pair changes no figure.
"""

from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import expit

BINS = 15


class Figure(BaseModel):
    """An estimate with the bounds of its 95% interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float


def accuracy(margins: np.ndarray) -> float:
    """The share of pairs whose chosen reply has the greater reward; equal ones count half. ``margins`` is chosen minus rejected."""
    return float(np.where(margins == 0, 0.5, margins > 0).mean())


def auc(margins: np.ndarray) -> float:
    """The area under the ROC curve of the margin, first minus second, as a classifier of "the first was chosen".

    Each pair is taken in both orders and not compared with itself: the share of pairs (i, j) with ``margins[i] + margins[j] > 0``, zeros
    counting half. This is the expectation of the usual AUC, which puts each pair in one random order.
    """
    n = len(margins)
    if n < 2:
        return accuracy(margins)
    order = np.sort(margins)
    above = n - np.searchsorted(order, -margins, side="right")
    equal = np.searchsorted(order, -margins, side="right") - np.searchsorted(order, -margins, side="left")
    own = np.where(margins == 0, 0.5, margins > 0)
    return float((above + 0.5 * equal - own).sum() / (n * (n - 1)))


def log_loss(margins: np.ndarray) -> float:
    """The mean of -log sigmoid(margin), for margins that are log-odds."""
    return float(np.logaddexp(0, -margins).mean())


def calibration_error(margins: np.ndarray) -> float:
    """Expected calibration error over 15 equal-width bins of the likelier side's probability; ``margins`` are log-odds.

    Guo et al. (2017), equation 3.
    """
    confidence = expit(np.abs(margins))
    right = np.where(margins == 0, 0.5, margins > 0)
    which = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    gaps = np.abs(np.bincount(which, weights=right - confidence, minlength=BINS))
    return float(gaps.sum() / len(margins))


def calibration_error_if_calibrated(margins: np.ndarray, *, draws: int = 200, seed: int = 0) -> float:
    """The mean calibration error of a perfectly calibrated model on as many answers: the part that is sampling noise."""
    rng = np.random.default_rng(seed)
    size = np.abs(margins)
    chance = expit(size)
    return float(np.mean([calibration_error(np.where(rng.random(len(size)) < chance, size, -size)) for _ in range(draws)]))


def correlation(margins: np.ndarray, differences: np.ndarray) -> float:
    """The correlation around zero of margins with another difference between the same sides; 0 where one of them is always 0."""
    size = float(np.sqrt((margins**2).sum() * (differences**2).sum()))
    return float((margins * differences).sum() / size) if size else 0.0


def with_interval(
    measure: Callable[[np.ndarray], float], margins: np.ndarray, prompts: np.ndarray, *, draws: int = 1_000, seed: int = 0
) -> Figure:
    """``measure`` with its 95% percentile interval from a bootstrap over prompts with all their pairs."""
    rng = np.random.default_rng(seed)
    _, index = np.unique(prompts, return_inverse=True)
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(index.max() + 2))
    members = [margins[order[starts[i] : starts[i + 1]]] for i in range(len(starts) - 1)]
    resampled = [measure(np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])) for _ in range(draws)]
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Figure(value=measure(margins), low=float(low), high=float(high))
