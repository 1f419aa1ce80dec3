"""What differs between recruiters: the rate of random answers, the pull of the side shown first, and the scale.

An answer is a lapse with probability ``epsilon_r``, prior Beta(1, 4), and then uniform over the nine levels; otherwise it follows the
ordinal model at ``z = s_r (delta @ w + b_r)``, with the pull ``b_r``, normal around 0, where the order shown is known, and the scale
``s_r``, log-normal around 1: who sees differences more clearly, or answers more decidedly. The mean of its logarithm over the judgments is
zero, because a common scale is the weights' own. All three are fitted by EM at a reconciliation and fixed until the next one. There each
judgment's log-likelihood is weighted by the probability that this answer was no lapse, and a new judgment's by ``1 - epsilon_r``. A high
rate means that this head does not predict the answers: carelessness and a different taste look alike here, and are told apart by
``trainers.reward.recruiter_kinds``.
"""

from collections.abc import Callable, Sequence
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
    attentive: float = 4.0
    pull_scale: float = 0.3
    scale_spread: float = 0.3

    @property
    def start(self) -> Recruiter:
        """A recruiter without judgments: the prior's means."""
        return Recruiter(self.lapsed / (self.lapsed + self.attentive), 0.0)


@dataclass(frozen=True)
class Given:
    """Answers to one question, as arrays of length n, for a round of EM.

    Attributes
    ----------
    who : index of the recruiter, 0 … R - 1
    position : 1 where the order shown is known, else 0
    lower, upper : levels, first side up
    mean, variance : of each judgment's ``delta @ w`` *without* its own site: with it, every recruiter would look attentive once there are
        as many weights as judgments
    """

    who: np.ndarray
    position: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    @property
    def chance(self) -> np.ndarray:
        """The probability of each answer in a lapse."""
        return np.asarray((self.upper.astype(int) - self.lower + 1) / (2 * ordinal.LEVELS + 1))

    def by_taste(self, pull: np.ndarray, scale: np.ndarray, cuts: Sequence[float]) -> np.ndarray:
        """The probability of each answer without a lapse, for pulls and scales ``(R,)``."""
        stretch = scale[self.who]
        z, spread = stretch * (self.mean + pull[self.who] * self.position), stretch**2 * self.variance
        return np.asarray(np.maximum(ordinal.expected(z, spread, *ordinal.interval(self.lower, self.upper, cuts)), 1e-300))

    def fitted_cut_points(
        self, found: Sequence[Recruiter], start: Sequence[float], first: Sequence[float], spread: float
    ) -> tuple[float, ...]:
        """The cut points that make the answers most probable, lapses included; see :func:`ordinal.fitted_cut_points`."""
        lapse, pull, scale = _columns(found)

        def log_likelihood(cuts: Sequence[float]) -> float:
            rate = lapse[self.who]
            return float(np.log((1 - rate) * self.by_taste(pull, scale, cuts) + rate * self.chance).sum())

        return ordinal.fitted_cut_points(log_likelihood, first, spread, start)

    def attentive(self, found: Sequence[Recruiter], cuts: Sequence[float]) -> np.ndarray:
        """The probability of each answer's being no lapse, ``(n,)``."""
        lapse, pull, scale = _columns(found)
        by_taste = (1 - lapse[self.who]) * self.by_taste(pull, scale, cuts)
        return np.asarray(by_taste / (by_taste + lapse[self.who] * self.chance))

    def step(self, found: Sequence[Recruiter], prior: RecruiterPrior, cuts: Sequence[float]) -> list[Recruiter]:
        """One round of EM for the lapse rates and one Newton step for the pulls and for the scales."""
        _, pull, scale = _columns(found)

        def per_recruiter(values: np.ndarray) -> np.ndarray:
            return np.bincount(self.who, weights=values, minlength=len(found))

        lapsed = 1 - self.attentive(found, cuts)
        count = per_recruiter(np.ones(len(self.who)))
        new_lapse = (prior.lapsed + per_recruiter(lapsed)) / (prior.lapsed + prior.attentive + count)

        def newton_step(value: np.ndarray, spread: float, at: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
            """One step towards the mode under a normal prior around 0, by central differences; at most one prior standard deviation."""
            below, here, above = (per_recruiter((1 - lapsed) * np.log(at(value + move))) for move in (-STEP, 0.0, STEP))
            slope = (above - below) / (2 * STEP) - value / spread**2
            curvature = np.maximum((2 * here - above - below) / STEP**2, 0) + 1 / spread**2
            return np.asarray(value + np.clip(slope / curvature, -spread, spread))

        new_pull = newton_step(pull, prior.pull_scale, lambda pulls: self.by_taste(pulls, scale, cuts))
        logs = newton_step(np.log(scale), prior.scale_spread, lambda logs: self.by_taste(new_pull, np.exp(logs), cuts))
        new_scale = np.exp(logs - count @ logs / len(self.who))
        return [Recruiter(*map(float, each)) for each in zip(new_lapse, new_pull, new_scale, strict=True)]


def _columns(found: Sequence[Recruiter]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lapse, pull, scale = (np.array(values) for values in zip(*((each.lapse, each.pull, each.scale) for each in found), strict=True))
    return lapse, pull, scale
