"""Which pairs are worth a recruiter's minute? Those whose answer tells most about the answers to others, chosen so that they tell different
things.

The information of an answer is the mutual information of answer and weights, ``I = H(E p) - E H(p)``: how uncertain the answer is, less
what would remain uncertain if the weights were known (Houlsby et al., 2011, "Bayesian active learning for classification and preference
learning", arXiv:1112.5745). Much of it may be about weights that hardly matter for other pairs. So what counts is how much an answer tells
about the answers to the other open pairs, which are drawn as later ones will be (Bickford Smith et al., 2023, "Prediction-oriented
Bayesian active learning", arXiv:2304.08151). With a normal approximation, an answer of information I removes the share
``s = 1 - exp(-2 I)`` of the variance of its own latent z, and tells ``-log(1 - r_ij^2 s_i s_j) / 2`` nats about an answer to another pair
whose z has the correlation r_ij with it.

A batch is chosen greedily: after each pair the covariance is what it will be once that pair is judged, so that a near copy of it tells
little any more.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.special import expit

from trainers.reward.online import ordinal
from trainers.reward.online.head import Head
from trainers.reward.online.settings import OVERALL

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(31)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def information(mean: np.ndarray, variance: np.ndarray, cut_points: Sequence[float]) -> np.ndarray:
    """Nats that an answer tells about ``z``, which is normal with this mean and variance, ``(n,)``.

    With four cut points the answer is one of nine levels, with one it is one of three; with none it is a side.
    """
    z = np.asarray(mean, float)[:, None] + np.sqrt(np.maximum(variance, 0))[:, None] * NODES
    probability = _levels(z, cut_points)
    mixed = np.einsum("k,lnk->ln", WEIGHTS, probability)
    return np.asarray(np.maximum(_entropy(mixed) - np.einsum("k,nk->n", WEIGHTS, _entropy(probability)), 0))


def _levels(z: np.ndarray, cut_points: Sequence[float]) -> np.ndarray:
    """The probability of each level at ``z``; the level is the first axis."""
    inner = [-cut for cut in reversed(cut_points)] + list(cut_points) if len(cut_points) else [0.0]
    above = [np.ones_like(z), *(expit(z - edge) for edge in inner), np.zeros_like(z)]
    return np.array([lower - upper for lower, upper in pairwise(above)])


def _entropy(probability: np.ndarray) -> np.ndarray:
    """Over the first axis, in nats."""
    return np.asarray(-(probability * np.log(np.maximum(probability, 1e-300))).sum(axis=0))


def most_informative(head: Head, differences: np.ndarray, count: int, question: str = OVERALL) -> list[int]:
    """Up to ``count`` rows of ``differences``, ``(n, d)``, in the order in which to ask them.

    Each row is the one whose answer, given those to the rows before it, would tell most about the answers to all rows.
    """
    taste = head.tastes[question]
    delta = np.asarray(differences, float)
    lower = np.tril(taste.covariance[:-1, :-1])
    between = delta @ (lower + np.tril(lower, -1).T) @ delta.T
    mean, chosen = delta @ taste.weights, list[int]()
    left = np.ones(len(delta), bool)
    while left.any() and len(chosen) < count:
        variance = np.diag(between).copy()
        best = int(np.argmax(np.where(left, _told(between, information(mean, variance, taste.cut_points)), -1.0)))
        chosen.append(best)
        left[best] = False
        h = expected_curvature(mean[best : best + 1], variance[best : best + 1], taste.cut_points)[0]
        column = between[:, best].copy()
        between -= np.outer(column, column) * (h / (1 + h * column[best]))
    return chosen


def _told(between: np.ndarray, own: np.ndarray) -> np.ndarray:
    """What each answer tells about the answers to all pairs: mean nats, ``(n,)``, for covariances ``(n, n)`` and own information."""
    scale = -np.expm1(-2 * own) / np.maximum(np.diag(between), 1e-12)
    return np.asarray(-np.log1p(-np.minimum(between**2 * scale * scale[:, None], 1 - 1e-12)).mean(axis=0) / 2)


def expected_curvature(mean: np.ndarray, variance: np.ndarray, cut_points: Sequence[float]) -> np.ndarray:
    """The mean Fisher information of an answer about ``z``, ``(n,)``: the precision of the site that it is expected to add."""
    z = np.asarray(mean, float)[:, None] + np.sqrt(np.maximum(variance, 0))[:, None] * NODES
    probability = _levels(z, cut_points)
    levels = np.arange(-ordinal.LEVELS, ordinal.LEVELS + 1)
    low, high = ordinal.interval(levels, levels, cut_points)
    curvature = np.array([ordinal.curvature(z, np.full_like(z, a), np.full_like(z, b)) for a, b in zip(low, high, strict=True)])
    return np.asarray(np.einsum("k,nk->n", WEIGHTS, (probability * curvature).sum(axis=0)))
