"""Tests by betting: evidence that may be looked at after every observation, at one fixed error rate.

The wealth of a gambler who bets on the mean of bounded outcomes being above a value is an e-process: if the mean, given the past, never is
above it, the probability that the wealth ever reaches 1 / alpha is at most alpha (Ville's inequality). After Waudby-Smith and Ramdas
(2024), "Estimating means of bounded random variables by betting", with a mixture of fixed bets.
"""

from collections.abc import Sequence

import numpy as np

# Fractions of the wealth bet on outcome - mean. Small bets find small differences, large ones find large differences quickly.
BETS = (0.2, 0.4, 0.8)


def log_wealth(outcomes: np.ndarray, mean: float, bets: Sequence[float] = BETS) -> np.ndarray:
    """The log of the wealth after each outcome, betting that the mean is above ``mean``.

    Parameters
    ----------
    outcomes : values in [0, 1], ``(…, n)``, in the order in which they arrived

    Returns
    -------
    ``(…, n)``; the average over equal stakes on each of ``bets``
    """
    gains = np.asarray(outcomes, float)[..., None] - mean
    each = np.cumsum(np.log1p(gains * np.asarray(bets)), axis=-2)
    largest = each.max(axis=-1)
    return np.asarray(largest + np.log(np.exp(each - largest[..., None]).mean(axis=-1)))


def log_wealth_below(outcomes: np.ndarray, mean: float, bets: Sequence[float] = BETS) -> np.ndarray:
    """The same, betting that the mean is below ``mean``."""
    return log_wealth(1 - np.asarray(outcomes, float), 1 - mean, bets)


def first_crossing(wealth: np.ndarray, alpha: float) -> int | None:
    """The index of the first observation at which a log wealth ``(n,)`` reaches 1 / ``alpha``; None if it never does."""
    crossed = np.flatnonzero(wealth >= -np.log(alpha))
    return int(crossed[0]) if len(crossed) else None


def confidence_sequence(outcomes: np.ndarray, alpha: float, step: float = 1e-4) -> tuple[float, float]:
    """Bounds of the mean, each of which holds at all times together with probability 1 - ``alpha``, after the last outcome.

    The lower bound is the smallest mean that no bet on a higher one has rejected at any time so far; found by bisection to within ``step``,
    because the wealth falls as the mean rises. The upper bound is its mirror image.
    """
    outcomes = np.asarray(outcomes, float)
    return _lower_bound(outcomes, alpha, step), 1 - _lower_bound(1 - outcomes, alpha, step)


def _lower_bound(outcomes: np.ndarray, alpha: float, step: float) -> float:
    rejected, open_ = 0.0, 1.0
    while open_ - rejected > step and len(outcomes):
        middle = (rejected + open_) / 2
        if first_crossing(log_wealth(outcomes, middle), alpha) is None:
            open_ = middle
        else:
            rejected = middle
    return rejected
