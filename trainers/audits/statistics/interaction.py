"""Does the effect of a variable on a choice depend on a group? A logistic regression over recruiters of unequal attention."""

from dataclasses import dataclass

import numpy as np

RIDGE = 1e-2  # precision of the prior on each coefficient, in standardised columns: bounds a fit where one side always wins
SENSITIVITY_SPREAD = 0.5  # prior standard deviation of a recruiter's sensitivity around 1
ROUNDS = 4


@dataclass(frozen=True)
class Estimates:
    """Coefficients for a recruiter of average sensitivity, with standard errors, ``(k,)`` each, and the degrees of freedom of their t.

    ``sensitivity`` is each cluster's, in the order of ``numpy.unique``.
    """

    figures: np.ndarray
    errors: np.ndarray
    freedom: int
    sensitivity: np.ndarray


def jackknifed_logit(columns: np.ndarray, position: np.ndarray, chosen: np.ndarray, clusters: np.ndarray) -> Estimates:
    """Fit P(first reply preferred) = σ(s_r · columns·β + position·b), with a sensitivity s_r of each cluster.

    Some recruiters click at random. Unweighted they hide an effect that all others share: it then varies between recruiters as much as it
    weighs. So each cluster's sensitivity is estimated (MAP, normal prior around 1, not below 0) in turns with β, and scaled to a mean of 1.

    Standard errors are those of the cluster jackknife, CV3 of MacKinnon, Nielsen and Webb (2023), "Cluster-robust inference: a guide to
    empirical practice", with Student's t on one degree of freedom less than there are clusters. With a dozen recruiters the usual sandwich
    formula gives intervals that are too short, and a bootstrap of recruiters draws too few distinct ones; the jackknife errs on the careful
    side. Sensitivities stay fixed in it: they are weights.

    Parameters
    ----------
    columns : ``(n, k)``
    position : 1 where the first reply was shown first, -1 where it was shown second, 0 where unknown, ``(n,)``
    chosen : 1 where the first reply was preferred, 0 where the second was, and 1/2 for a tie, ``(n,)``; a quasi-likelihood (Papke and
        Wooldridge, 1996), so that ties need no model of their own
    clusters : the label of each row's cluster, ``(n,)``
    """
    labels, who = np.unique(clusters, return_inverse=True)
    scale = np.sqrt((columns**2).mean(axis=0))
    scale[scale == 0] = 1.0
    standard = columns / scale
    sensitivity = np.ones(len(labels))
    weights = np.zeros(columns.shape[1] + 1)
    for _ in range(ROUNDS):
        rows = np.column_stack([standard * sensitivity[who][:, None], position])
        weights = _fit(rows, chosen, weights)
        sensitivity = _sensitivities(standard @ weights[:-1], position * weights[-1], chosen, who, sensitivity)
    rows = np.column_stack([standard * sensitivity[who][:, None], position])
    weights = _fit(rows, chosen, weights)
    if len(labels) < 2:
        return Estimates(weights[:-1] / scale, np.full(len(scale), np.inf), 0, sensitivity)
    without = np.stack([_fit(rows[who != one], chosen[who != one], weights) for one in range(len(labels))])
    errors = np.sqrt((len(labels) - 1) / len(labels) * ((without - weights) ** 2).sum(axis=0))
    return Estimates(weights[:-1] / scale, errors[:-1] / scale, len(labels) - 1, sensitivity)


def _fit(columns: np.ndarray, chosen: np.ndarray, start: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    weights = start.copy()
    for _ in range(50):
        chance = expit(columns @ weights)
        information = (columns * (chance * (1 - chance))[:, None]).T @ columns + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(information, columns.T @ (chosen - chance) - RIDGE * weights)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _sensitivities(score: np.ndarray, offset: np.ndarray, chosen: np.ndarray, who: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The MAP factor of ``score`` in each cluster, with a mean of 1."""
    from scipy.special import expit

    found, precision = start.copy(), 1 / SENSITIVITY_SPREAD**2
    for _ in range(20):
        chance = expit(found[who] * score + offset)
        slope = np.bincount(who, weights=score * (chosen - chance), minlength=len(found)) - precision * (found - 1)
        curvature = np.bincount(who, weights=score**2 * chance * (1 - chance), minlength=len(found)) + precision
        found = np.maximum(found + slope / curvature, 0.0)
    mean = float(found.mean())
    return found / mean if mean > 0 else np.ones(len(found))
