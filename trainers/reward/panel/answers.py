"""The likelihood of answers that are given by taste or, in a lapse, at random.

``P(y|z) = (1 - lapse) P_ordinal(y|z) + lapse * chance``, where a lapse gives each of the nine levels the same chance (Wichmann and Hill,
2001, "The psychometric function: I", equation 1). It is not log-concave, so Newton's steps use the curvature of EM's lower bound, which
makes every step an ascent direction (Dempster, Laird and Rubin, 1977), and the posterior the observed one (Louis, 1982).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.reward.online import ordinal
from trainers.reward.panel.judged import Judged

LEAST_CURVATURE = 1e-3  # a surprising answer says nearly nothing; the prior alone keeps the posterior proper


@dataclass(frozen=True)
class Answers:
    """Answers as intervals of the latent scale, ``low`` to ``high``, each given in a lapse with probability ``lapse``, all ``(n,)``."""

    low: np.ndarray
    high: np.ndarray
    lapse: np.ndarray
    chance: np.ndarray

    @classmethod
    def of(cls, judged: Judged, cut_points: Sequence[float], lapse: np.ndarray) -> "Answers":
        low, high = ordinal.interval(judged.lower, judged.upper, cut_points)
        return cls(low, high, lapse, (judged.upper - judged.lower + 1) / (2 * ordinal.LEVELS + 1))

    def log_likelihood(self, z: np.ndarray) -> np.ndarray:
        return np.asarray(np.log((1 - self.lapse) * np.exp(ordinal.log_likelihood(z, self.low, self.high)) + self.lapse * self.chance))

    def attentive(self, z: np.ndarray) -> np.ndarray:
        """The probability that each answer, ``(n,)``, was no lapse."""
        by_taste = (1 - self.lapse) * np.exp(ordinal.log_likelihood(z, self.low, self.high))
        return np.asarray(by_taste / np.maximum(by_taste + self.lapse * self.chance, 1e-300))

    def slope(self, z: np.ndarray) -> np.ndarray:
        """The first derivative of the log-likelihood in ``z``."""
        return np.asarray(self.attentive(z) * ordinal.slope(z, self.low, self.high))

    def bound_curvature(self, z: np.ndarray) -> np.ndarray:
        """The negative second derivative of EM's lower bound; never negative."""
        return np.asarray(self.attentive(z) * ordinal.curvature(z, self.low, self.high))

    def curvature(self, z: np.ndarray) -> np.ndarray:
        """The negative second derivative of the log-likelihood, at least ``LEAST_CURVATURE``."""
        attentive = self.attentive(z)
        missing = attentive * (1 - attentive) * ordinal.slope(z, self.low, self.high) ** 2
        return np.asarray(np.maximum(attentive * ordinal.curvature(z, self.low, self.high) - missing, LEAST_CURVATURE))

    def by_taste(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """The answer's probability without a lapse under a normal ``z``."""
        return ordinal.expected(mean, variance, self.low, self.high)

    def lapsed(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """The probability that each answer was a lapse under a normal ``z``."""
        by_chance = self.lapse * self.chance
        return np.asarray(by_chance / (by_chance + (1 - self.lapse) * self.by_taste(mean, variance)))

    def scaled(self, factor: np.ndarray) -> "Answers":
        """The answers on a latent scale that is stretched by ``factor``, ``(n,)``."""
        return Answers(factor * self.low, factor * self.high, self.lapse, self.chance)
