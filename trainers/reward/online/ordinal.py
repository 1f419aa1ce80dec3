"""The ordinal model of all judgments: its log-likelihood and the first two derivatives.

An answer says that the outcome ``Y`` in {-4 … 4} lies between two levels: the first shown is better (1 … 4, by strength), worse
(-1 … -4), or neither (0). ``P(Y >= k) = sigmoid(z - c_k)`` with symmetric cut points, ``c_(1-k) = -c_k``, so that exchanging the two
replies exchanges the answers and nothing else. With ties and no strengths this is the model of Rao and Kupper (1967).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from storage.events import Choice

LEVELS = 4


def levels(choice: Choice, strength: int | None) -> tuple[int, int]:
    """The lowest and the highest level of an answer, oriented towards A.

    A choice of A without a strength covers levels 1 to 4: its likelihood is the sum over the strengths. The strength of a tie is ignored.
    """
    if choice not in ("A", "B", "tie"):
        raise ValueError(f"{choice!r} is not a preference")
    if choice == "tie":
        return 0, 0
    low, high = (1, LEVELS) if strength is None else (strength, strength)
    return (low, high) if choice == "A" else (-high, -low)


def mirrored(lower: int, upper: int) -> tuple[int, int]:
    """The same answer with the two replies exchanged."""
    return -upper, -lower


def edges(cut_points: Sequence[float]) -> tuple[float, ...]:
    """The boundaries of levels -4 … 4 on the latent scale: level k lies between edges ``k + 4`` and ``k + 5``; the ends are infinite."""
    return (-math.inf, *(-cut for cut in reversed(cut_points)), *cut_points, math.inf)


def interval(lower: ArrayLike, upper: ArrayLike, cut_points: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The interval of the latent scale that each answer covers, from its lowest to its highest level."""
    ends = np.array(edges(cut_points))
    return ends[np.asarray(lower, dtype=int) + LEVELS], ends[np.asarray(upper, dtype=int) + LEVELS + 1]


def one_interval(lower: int, upper: int, cut_points: Sequence[float]) -> tuple[float, float]:
    """Scalar version of :func:`interval`: array overhead would be a tenth of a learning step."""
    ends = edges(cut_points)
    return ends[lower + LEVELS], ends[upper + LEVELS + 1]


def log_likelihood(z: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """``log(sigmoid(z - low) - sigmoid(z - high))``.

    Computed as ``log sigmoid(z - low) + log sigmoid(high - z) + log(1 - exp(low - high))``, which neither cancels nor overflows, and is
    visibly concave in ``z``.
    """
    return np.asarray(log_expit(z - low) + log_expit(high - z) + np.log1p(-np.exp(low - high)))


def slope(z: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The first derivative of :func:`log_likelihood` in ``z``."""
    return np.asarray(expit(low - z) - expit(z - high))


def curvature(z: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The negative second derivative of :func:`log_likelihood` in ``z``; between 0 and 1/2."""
    return np.asarray(expit(z - low) * expit(low - z) + expit(z - high) * expit(high - z))


def fitted_cut_points(
    log_likelihood: Callable[[Sequence[float]], float], first: Sequence[float], spread: float, start: Sequence[float]
) -> tuple[float, ...]:
    """The cut points that maximise ``log_likelihood(cut_points)`` plus a normal prior on the logarithms of their gaps.

    Parameters
    ----------
    first : the prior's centre
    spread : the prior's standard deviation of each logarithm
    start : where the search begins (L-BFGS)
    """
    from scipy.optimize import minimize

    center = np.log(np.diff((0.0, *first)))

    def loss(gaps: np.ndarray) -> float:
        return float(0.5 * (((gaps - center) / spread) ** 2).sum() - log_likelihood(np.cumsum(np.exp(gaps)).tolist()))

    found = minimize(loss, np.log(np.diff((0.0, *start))), method="L-BFGS-B", bounds=[(-4.0, 3.0)] * len(center))
    return tuple(float(cut) for cut in np.cumsum(np.exp(found.x)))


def expected(mean: np.ndarray, variance: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The answer's probability under a normal ``z``: each sigmoid at ``kappa (mean - cut)``, ``kappa = 1 / sqrt(1 + pi variance / 8)``.

    MacKay (1992), "The evidence framework applied to classification networks", equation 10.
    """
    kappa = 1 / np.sqrt(1 + np.pi * np.asarray(variance) / 8)
    return np.asarray(np.exp(log_likelihood(kappa * mean, kappa * low, kappa * high)))
