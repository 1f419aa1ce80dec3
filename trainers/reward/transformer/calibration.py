"""From a transformer's score differences to probabilities: a slope, and how far apart two replies are before one is preferred.

A fine-tuned model is too sure of itself, by how much depends on the number of epochs. Both are fitted on prompts that it was not trained
on: ``P(A) = sigmoid(slope * d - cut)``, ``P(B) = sigmoid(-slope * d - cut)``, and a tie has the rest, as in the online head. Platt (1999)
scaling, with ties, and with a prior for few pairs.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from trainers.data.preference import DecisiveChoice

SLOPE_SPREAD = 1.0  # prior standard deviation of the logarithm of the slope, around 1
CUT, CUT_SPREAD = 0.4, 0.7  # median of the cut, and prior standard deviation of its logarithm


class Calibration(BaseModel):
    """``slope`` and ``cut`` in log-odds, fitted on ``pairs`` answers; with none they are the prior's medians."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: float = 1.0
    cut: float = CUT
    pairs: int = 0

    @classmethod
    def fit(cls, differences: np.ndarray, choices: Sequence[DecisiveChoice]) -> "Calibration":
        """The most probable slope and cut, given the scores of A minus those of B, ``(n,)``, and the answers."""
        if not len(differences):
            return cls()
        side = np.array([{"A": 1.0, "tie": 0.0, "B": -1.0}[choice] for choice in choices])
        toward = np.where(side == 0, differences, side * differences)

        def loss(logs: np.ndarray) -> float:
            z, cut = np.exp(logs[0]) * toward, np.exp(logs[1])
            tie = np.log(np.maximum(1 - expit(z - cut) - expit(-z - cut), 1e-12))
            prior = (logs[0] / SLOPE_SPREAD) ** 2 / 2 + ((logs[1] - np.log(CUT)) / CUT_SPREAD) ** 2 / 2
            return float(prior - np.where(side == 0, tie, log_expit(z - cut)).sum())

        found = minimize(loss, np.array([0.0, np.log(CUT)]), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8})
        slope, cut = np.exp(found.x)
        return cls(slope=float(slope), cut=float(cut), pairs=len(differences))
