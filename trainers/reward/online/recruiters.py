"""What differs between recruiters: the rate of random answers, the pull of the side shown first, and the scale.

An answer is a lapse with probability ``epsilon_r``, prior Beta(1, 9), and then uniform over the nine levels; otherwise it follows the
ordinal model at ``z = s_r (delta @ w + b_r)``, with the pull ``b_r``, normal around 0, where the order shown is known, and the scale
``s_r``, log-normal around 1: who sees differences more clearly, or answers more decidedly. The mean of its logarithm over the judgments is
zero, because a common scale is the weights' own. All three are fitted by EM at a reconciliation and fixed until the next one; a judgment's
log-likelihood is weighted by ``1 - epsilon_r``. A low reliability means that this head does not predict the answers: carelessness and a
different taste look alike here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trainers.reward.online import ordinal

STEP = 0.05  # of the central differences; the log-likelihood is smooth on this scale


@dataclass(frozen=True)
class Recruiter:
    """``lapse`` is the share of answers given at random, ``pull`` what the side shown first gains, ``scale`` multiplies the log-odds."""

    lapse: float
    pull: float
    scale: float = 1.0

    @property
    def weight(self) -> float:
        return 1 - self.lapse


@dataclass(frozen=True)
class RecruiterPrior:
    """Beta(``lapsed``, ``attentive``) on the lapse rate; normals on the pull and on the logarithm of the scale."""

    lapsed: float = 1.0
    attentive: float = 9.0
    pull_scale: float = 0.3
    scale_spread: float = 0.3

    @property
    def start(self) -> Recruiter:
        """A recruiter without judgments: the prior's means."""
        return Recruiter(self.lapsed / (self.lapsed + self.attentive), 0.0)


def step(
    current: Mapping[str, Recruiter],
    prior: RecruiterPrior,
    names: tuple[str, ...],
    rows: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> dict[str, Recruiter]:
    """One round of EM for the lapse rates and one Newton step for the pulls and for the scales.

    Parameters
    ----------
    names, rows : the history's; ``rows["recruiter"]`` indexes ``names``
    mean, variance : of each judgment's ``delta @ w`` *without* its own site: with it, every recruiter would look attentive once there are
        as many weights as judgments
    low, high : the interval of the latent scale that each answer covers
    """
    who, known = rows["recruiter"], rows["position"] != 0
    lapse, pull, scale = (np.array(values) for values in zip(*(_of(current.get(name, prior.start)) for name in names), strict=True))

    def log_likelihood(pulls: np.ndarray, scales: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(ordinal.expected(*latent(mean, variance, np.where(known, pulls[who], 0), scales[who]), low, high)))

    def per_recruiter(values: np.ndarray) -> np.ndarray:
        return np.bincount(who, weights=values, minlength=len(names))

    by_chance = lapse[who] * (rows["upper"].astype(int) - rows["lower"] + 1) / (2 * ordinal.LEVELS + 1)
    by_model = (1 - lapse[who]) * np.exp(log_likelihood(pull, scale))
    lapsed = by_chance / (by_chance + by_model)
    attention = 1 - lapsed
    new_lapse = (prior.lapsed + per_recruiter(lapsed)) / (prior.lapsed + prior.attentive + per_recruiter(np.ones(len(rows))))

    def newton_step(value: np.ndarray, spread: float, at: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """One step towards the mode under a normal prior around 0, by central differences; at most one prior standard deviation."""
        below, here, above = (per_recruiter(attention * at(value + move)) for move in (-STEP, 0.0, STEP))
        slope = (above - below) / (2 * STEP) - value / spread**2
        curvature = np.maximum((2 * here - above - below) / STEP**2, 0) + 1 / spread**2
        return np.asarray(value + np.clip(slope / curvature, -spread, spread))

    new_pull = newton_step(pull, prior.pull_scale, lambda pulls: log_likelihood(pulls, scale))
    logs = newton_step(np.log(scale), prior.scale_spread, lambda logs: log_likelihood(new_pull, np.exp(logs)))
    new_scale = np.exp(logs - per_recruiter(np.ones(len(rows))) @ logs / len(rows))
    return {name: Recruiter(float(new_lapse[i]), float(new_pull[i]), float(new_scale[i])) for i, name in enumerate(names)}


def latent(mean: np.ndarray, variance: np.ndarray, pull: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of ``z`` from those of ``delta @ w``."""
    return scale * (mean + pull), scale**2 * variance


def _of(recruiter: Recruiter) -> tuple[float, float, float]:
    return recruiter.lapse, recruiter.pull, recruiter.scale
