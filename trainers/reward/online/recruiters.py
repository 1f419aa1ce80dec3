"""The reliability of each recruiter: the rate of random answers, and the pull of the side shown first.

An answer is a lapse with probability ``epsilon_r``, prior Beta(1, 9), and then uniform over the nine levels; otherwise it follows the
ordinal model with ``b_r``, normal around 0, added where the order shown is known. Fitted by EM at a reconciliation and fixed until the
next one; a judgment's log-likelihood is weighted by ``1 - epsilon_r``. A low reliability means that this head does not predict the
answers: carelessness and a different taste look alike here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainers.reward.online import ordinal


@dataclass(frozen=True)
class Recruiter:
    """``lapse`` is the share of answers given at random, ``pull`` the log-odds that the side shown first gains."""

    lapse: float
    pull: float

    @property
    def weight(self) -> float:
        return 1 - self.lapse


@dataclass(frozen=True)
class RecruiterPrior:
    """Beta(``lapsed``, ``attentive``) on the lapse rate, a normal of standard deviation ``pull_scale`` on the pull."""

    lapsed: float = 1.0
    attentive: float = 9.0
    pull_scale: float = 0.3

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
    """One round of EM for the lapse rates and one Newton step for the pulls.

    Parameters
    ----------
    names, rows : the history's; ``rows["recruiter"]`` indexes ``names``
    mean, variance : of each judgment's latent *without* its own site and without its recruiter's pull: with its own site, every recruiter
        would look attentive once there are as many weights as judgments
    low, high : the interval of the latent scale that each answer covers
    """
    who = rows["recruiter"]
    lapse = np.array([current.get(name, prior.start).lapse for name in names])
    pull = np.array([current.get(name, prior.start).pull for name in names])
    kappa = 1 / np.sqrt(1 + np.pi * variance / 8)
    known = rows["position"] != 0
    center = kappa * (mean + np.where(known, pull[who], 0))
    by_chance = lapse[who] * (rows["upper"].astype(int) - rows["lower"] + 1) / (2 * ordinal.LEVELS + 1)
    by_model = (1 - lapse[who]) * np.exp(ordinal.log_likelihood(center, kappa * low, kappa * high))
    lapsed = by_chance / (by_chance + by_model)

    def per_recruiter(values: np.ndarray) -> np.ndarray:
        return np.bincount(who, weights=values, minlength=len(names))

    count = per_recruiter(np.ones(len(rows)))
    new_lapse = (prior.lapsed + per_recruiter(lapsed)) / (prior.lapsed + prior.attentive + count)
    attention = np.where(known, 1 - lapsed, 0)
    slope = per_recruiter(attention * kappa * ordinal.slope(center, kappa * low, kappa * high)) - pull / prior.pull_scale**2
    curvature = per_recruiter(attention * kappa**2 * ordinal.curvature(center, kappa * low, kappa * high)) + 1 / prior.pull_scale**2
    new_pull = pull + slope / curvature
    return {name: Recruiter(float(new_lapse[i]), float(new_pull[i])) for i, name in enumerate(names)}
