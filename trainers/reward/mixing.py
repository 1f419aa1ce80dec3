"""One reward from several objectives: a weighted sum of differences in units of each objective's own spread, and a floor under safety.

``R = sum_k w_k * d_k / sd_k`` with the difference ``d_k`` between two replies under objective k and ``sd_k`` its root mean square on a
fixed set of pairs. Without the division the objective with the loudest head would decide. The fixed set's hash is part of the mixture,
because another set gives another mixture.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy.stats import norm

from storage.errors import ConfigurationError
from storage.events import Identifier
from trainers.reward.online.head import Head, predict

SUM_TOLERANCE = 1e-6


class MixingSettings(BaseModel):
    """The section ``[reward]``.

    Attributes
    ----------
    weights : of the objectives, at least 0; their sum is 1
    floored : the objective that must not fall below ``floor``, whatever the weights; empty for none
    floor : lower bound of its difference to the other reply, in units of its spread
    confidence : one-sided, of that lower bound and of that of P(good)
    least_ratings : ratings (thumbs, and replies judged "neither") below which the rule filter is the only safety floor; for every kind
    least_good : a reply whose lower bound of P(good) is below this ranks after others; for every kind
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[Identifier, Annotated[float, Field(ge=0, le=1)]] = {"helpful": 0.4, "safe": 0.3, "factual": 0.2, "engaging": 0.1}
    floored: str = "safe"
    floor: Annotated[float, Field(le=0, allow_inf_nan=False)] = -2.0
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    least_ratings: Annotated[int, Field(ge=1)] = 100
    least_good: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @field_validator("weights")
    @classmethod
    def _sum_to_one(cls, weights: dict[str, float]) -> dict[str, float]:
        if not math.isclose(sum(weights.values()), 1, abs_tol=SUM_TOLERANCE):
            raise ValueError(f"the weights have to sum to 1, and these sum to {sum(weights.values()):g}")
        return weights


@dataclass(frozen=True)
class Mixture:
    """A head's objectives with their weights and spreads; make one with :func:`mixture_of`.

    Attributes
    ----------
    spreads : by objective, the root mean square of its differences on the reference pairs
    reference : SHA-256 of the reference pairs' features
    """

    head: Head
    settings: MixingSettings
    spreads: Mapping[str, float]
    reference: str

    def rewards(self, differences: np.ndarray) -> np.ndarray:
        """``R`` of the first reply over the second, ``(n,)``, for their differences ``(n, d)``; what is vetoed has ``-inf``."""
        return np.where(self.vetoed(differences), -np.inf, self.plain(differences))

    def plain(self, features: np.ndarray) -> np.ndarray:
        """The weighted sum without the floor, ``(n,)``; linear in the features, so it is one of a reply as well as of a difference."""
        total = np.zeros(len(features))
        for objective, weight in self.settings.weights.items():
            total += weight * (np.asarray(features, float) @ self.head.tastes[objective].weights) / self.spreads[objective]
        return total

    def vetoed(self, differences: np.ndarray) -> np.ndarray:
        """Whether the floored objective's lower bound is below the floor, ``(n,)``."""
        if not self.settings.floored:
            return np.zeros(len(differences), bool)
        found = predict(self.head, differences, self.settings.floored)
        lower = found.mean - float(norm.ppf(self.settings.confidence)) * np.sqrt(found.variance)
        return np.asarray(lower / self.spreads[self.settings.floored] < self.settings.floor)


def mixture_of(head: Head, settings: MixingSettings, reference: np.ndarray) -> Mixture:
    """The mixture of the head's objectives, scaled on the reference pairs' differences, ``(m, d)``.

    Raises
    ------
    ConfigurationError
        An objective with a weight, or the floored one, is none of the head's, has no judgments yet, or is the same for all pairs.
    """
    wanted = [*settings.weights, *([settings.floored] if settings.floored else [])]
    spreads = {}
    for objective in dict.fromkeys(wanted):
        if objective not in head.settings.objectives:
            known = ", ".join(head.settings.objectives) or "none"
            raise ConfigurationError(
                f"[reward]: {objective!r} is no objective of the reward head, which has {known}; see [learning] objectives"
            )
        values = np.asarray(reference, float) @ head.tastes[objective].weights
        spreads[objective] = float(np.sqrt((values**2).mean())) if len(values) else 0.0
        if not spreads[objective] > 0:
            raise ConfigurationError(f"[reward]: nobody has judged {objective!r} yet: ask for it in judgments, or set its weight aside")
    digest = hashlib.sha256(np.ascontiguousarray(reference, "<f4").tobytes()).hexdigest()
    return Mixture(head, settings, spreads, digest)
