"""The one ordered scale on which every judgment stands, and its log-likelihood with two derivatives.

An answer says that the outcome ``Y`` in {-4 … 4} lay between two levels: the first shown is better (1 … 4, by strength), worse
(-1 … -4), or neither (0). ``P(Y >= k) = sigmoid(z - c_k)`` with cut points that mirror each other, ``c_(1-k) = -c_k``, so that exchanging
the two replies exchanges the answers and nothing else. With ties and no strengths this is the model of Rao and Kupper (1967).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from storage.events import Choice

LEVELS = 4


def levels(choice: Choice, strength: int | None) -> tuple[int, int]:
    """The lowest and the highest level that an answer stands for, A's side up.

    A choice without a strength says that A wins at all, levels 1 to 4: its likelihood is the sum over the strengths. The strength of a tie
    says nothing.
    """
    if choice not in ("A", "B", "tie"):
        raise ValueError(f"{choice!r} is no preference")
    if choice == "tie":
        return 0, 0
    low, high = (1, LEVELS) if strength is None else (strength, strength)
    return (low, high) if choice == "A" else (-high, -low)


def mirrored(lower: int, upper: int) -> tuple[int, int]:
    """The same answer with the two replies exchanged."""
    return -upper, -lower


def edges(cut_points: Sequence[float]) -> tuple[float, ...]:
    """The ends of the levels -4 … 4 on the latent scale: level k lies between edges ``k + 4`` and ``k + 5``; infinite at the outermost."""
    return (-math.inf, *(-cut for cut in reversed(cut_points)), *cut_points, math.inf)


def interval(lower: ArrayLike, upper: ArrayLike, cut_points: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The stretch of the latent scale, from its lowest to its highest level, that each answer covers."""
    ends = np.array(edges(cut_points))
    return ends[np.asarray(lower, dtype=int) + LEVELS], ends[np.asarray(upper, dtype=int) + LEVELS + 1]


def one_interval(lower: int, upper: int, cut_points: Sequence[float]) -> tuple[float, float]:
    """:func:`interval` of one answer: the arrays' overhead would be a tenth of what learning it takes."""
    ends = edges(cut_points)
    return ends[lower + LEVELS], ends[upper + LEVELS + 1]


def log_likelihood(z: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """``log(sigmoid(z - low) - sigmoid(z - high))``.

    As ``log sigmoid(z - low) + log sigmoid(high - z) + log(1 - exp(low - high))``, which neither cancels nor overflows, and shows that
    it is concave in ``z``.
    """
    return np.asarray(log_expit(z - low) + log_expit(high - z) + np.log1p(-np.exp(low - high)))


def slope(z: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The first derivative of :func:`log_likelihood` by ``z``."""
    return np.asarray(expit(low - z) - expit(z - high))


def curvature(z: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Minus the second derivative of :func:`log_likelihood` by ``z``; never negative, at most 1/2."""
    return np.asarray(expit(z - low) * expit(low - z) + expit(z - high) * expit(high - z))


def expected(mean: np.ndarray, variance: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The answer's probability where ``z`` is normal: each sigmoid at ``kappa (mean - cut)``, ``kappa = 1 / sqrt(1 + pi variance / 8)``.

    MacKay (1992), "The evidence framework applied to classification networks", equation 10.
    """
    kappa = 1 / np.sqrt(1 + np.pi * np.asarray(variance) / 8)
    return np.asarray(np.exp(log_likelihood(kappa * mean, kappa * low, kappa * high)))
