"""Judgments as arrays: what a panel is fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.data.preference import Preference
from trainers.reward.online import ordinal
from trainers.reward.online.learn import UNKNOWN


@dataclass(frozen=True)
class Judged:
    """Judgments as arrays of length n, oriented towards A.

    Attributes
    ----------
    differences : features of A minus features of B, ``(n, d)``
    lower, upper : lowest and highest level of each answer, see ``ordinal``
    position : 1 if A was shown first, -1 if B was, 0 if unknown
    recruiter, prompt : who judged, and the conversation
    """

    differences: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    position: np.ndarray
    recruiter: np.ndarray
    prompt: np.ndarray

    @classmethod
    def of(cls, preferences: Sequence[Preference], features_a: np.ndarray, features_b: np.ndarray) -> "Judged":
        """From preferences and the features of their replies, ``(n, d)`` each."""
        levels = np.array([ordinal.levels(c.overall, c.strength) for c in preferences], int).reshape(-1, 2)
        return cls(
            differences=np.asarray(features_a, float) - np.asarray(features_b, float),
            lower=levels[:, 0],
            upper=levels[:, 1],
            position=np.array([{"A": 1, "B": -1, None: 0}[c.shown_first] for c in preferences], int),
            recruiter=np.array([c.recruiter or UNKNOWN for c in preferences]),
            prompt=np.array([c.conversation_id for c in preferences]),
        )

    def __len__(self) -> int:
        return len(self.lower)

    def at(self, index: np.ndarray) -> "Judged":
        """The judgments at these positions."""
        return Judged(*(getattr(self, name)[index] for name in self.__dataclass_fields__))
