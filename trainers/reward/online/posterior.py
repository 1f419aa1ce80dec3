"""Laplace approximation of the weights' posterior given all judgments: Newton's method for the mode, and the curvature there.

The weights' prior is normal with mean zero; ``z = scale * (X w) + offset``. Almost all the time goes into products of the
differences with each other. They are computed in single precision, at half the cost, where they affect only the path to convergence, or a
variance that is itself an estimate.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve, lapack

from storage.errors import TrainingError
from trainers.reward.online import ordinal

NO_COVARIANCE = "the reward head's posterior has no covariance: are its features finite and of sensible size?"
BLOCK_ROWS = 2_048  # bounds the float64 copies of the float32 differences


@dataclass(frozen=True)
class Answers:
    """Judgments as arrays of length n: differences ``(n, p)``, the covered interval of the latent scale, offset, weight and scale."""

    differences: np.ndarray
    low: np.ndarray
    high: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    scale: np.ndarray | float = 1.0

    def latents(self, weights: np.ndarray) -> np.ndarray:
        """Each answer's ``z``, ``(n,)``."""
        return np.asarray(self.scale * latents(self.differences, weights) + self.offset)


@dataclass(frozen=True)
class Posterior:
    """Normal approximation; ``latent`` is each answer's ``z``."""

    mean: np.ndarray
    covariance: np.ndarray
    latent: np.ndarray


def latents(differences: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``X w``, ``(n,)``, in float64, a block of rows at a time."""
    blocks = range(0, len(differences), BLOCK_ROWS)
    return np.concatenate([np.empty(0), *(differences[i : i + BLOCK_ROWS].astype(float) @ weights for i in blocks)])


def most_probable(answers: Answers, precision: np.ndarray, start: np.ndarray | None = None, *, tolerance: float = 1e-10) -> np.ndarray:
    """The weights with the greatest posterior density, shape ``(p,)``; Newton's method with step halving.

    Parameters
    ----------
    precision : the prior's, shape ``(p,)``
    start : initial weights; by default the prior's mean
    tolerance : on the largest component of the gradient, relative to the number of answers
    """
    weights = np.zeros_like(precision) if start is None else start.copy()
    z = answers.latents(weights)
    value = _density(weights, z, answers, precision)
    for _ in range(100):
        slopes = answers.weight * ordinal.slope(z, answers.low, answers.high)
        gradient = _transposed(answers.differences, answers.scale * slopes) - precision * weights
        if np.abs(gradient).max() <= tolerance * max(1, len(z)):
            return weights
        # the gradient is exact, so an imprecise curvature costs a step at most and does not change the result
        factor = cho_factor(_information(answers, z, precision, np.float32), lower=True, overwrite_a=True, check_finite=False)
        step = cho_solve(factor, gradient, check_finite=False)
        for halving in range(30):
            moved = weights + step * 0.5**halving
            there = answers.latents(moved)
            new = _density(moved, there, answers, precision)
            if new >= value - 1e-12 * abs(value):
                break
        if np.array_equal(moved, weights) or halving == 29:
            return weights  # converged to floating-point precision
        weights, z, value = moved, there, new
    raise TrainingError("the reward head's weights did not settle within 100 Newton steps: are its features finite and of sensible size?")


def posterior_at(weights: np.ndarray, answers: Answers, precision: np.ndarray) -> Posterior:
    """The normal approximation at ``weights``: the covariance (F-ordered, both triangles) and each answer's latent mean."""
    z = answers.latents(weights)
    inverse, failed = lapack.dpotri(_lower(_information(answers, z, precision, np.float64)), lower=1, overwrite_c=1)
    if failed:
        raise TrainingError(NO_COVARIANCE)
    return Posterior(weights, np.asfortranarray(np.tril(inverse) + np.tril(inverse, -1).T), z)


def spread_at(weights: np.ndarray, answers: Answers, precision: np.ndarray) -> np.ndarray:
    """The variance of each answer's ``delta @ w`` under the normal approximation at ``weights``, ``(n,)``, to six digits.

    With the information's Cholesky factor L, the variance of ``x' w`` is the squared length of ``L^-1 x``.
    """
    information = _information(answers, answers.latents(weights), precision, np.float32)
    lower = np.asfortranarray(_lower(information), dtype=np.float32)
    spread = np.empty(len(answers.low))
    for i in range(0, len(spread), BLOCK_ROWS):
        solved = blas.strsm(1.0, lower, answers.differences[i : i + BLOCK_ROWS].astype(np.float32, copy=False).T, lower=1)
        spread[i : i + BLOCK_ROWS] = np.einsum("ij,ij->j", solved, solved)
    return spread


def _lower(information: np.ndarray) -> np.ndarray:
    lower, failed = lapack.dpotrf(information, lower=1, overwrite_a=1)
    if failed:
        raise TrainingError(NO_COVARIANCE)
    return np.asarray(lower)


def _density(weights: np.ndarray, z: np.ndarray, answers: Answers, precision: np.ndarray) -> float:
    return float(answers.weight @ ordinal.log_likelihood(z, answers.low, answers.high) - 0.5 * precision @ weights**2)


def _transposed(differences: np.ndarray, values: np.ndarray) -> np.ndarray:
    total = np.zeros(differences.shape[1])
    for i in range(0, len(differences), BLOCK_ROWS):
        total += values[i : i + BLOCK_ROWS] @ differences[i : i + BLOCK_ROWS].astype(float)
    return total


def _information(answers: Answers, z: np.ndarray, precision: np.ndarray, arithmetic: type[np.floating]) -> np.ndarray:
    """The negative second derivative of the log posterior, ``(p, p)`` float64, F-ordered; its blocks are added up in float64."""
    roots = (answers.scale * np.sqrt(answers.weight * ordinal.curvature(z, answers.low, answers.high))).astype(arithmetic)
    total = np.diag(precision)
    for i in range(0, len(z), BLOCK_ROWS):
        block = answers.differences[i : i + BLOCK_ROWS].astype(arithmetic) * roots[i : i + BLOCK_ROWS, None]
        total += block.T @ block
    return np.asfortranarray(total)
