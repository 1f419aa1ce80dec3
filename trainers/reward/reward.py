"""What every trained reward model can do, whatever its kind."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from trainers.data.preference import Preference
from trainers.features.embedding import Item
from trainers.reward.online.head import Prediction

Progress = Callable[[int, int, Mapping[str, float]], None]  # step, steps, metrics


def no_progress(step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """No-op progress callback."""


class Reward(Protocol):
    """A trained reward model."""

    @property
    def about(self) -> Mapping[str, float | str]:
        """What was chosen in its training, for reports: ``{"prior_scale": 0.6}``."""

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        """Rewards of (prompt, reply) pairs in log-odds, ``(n,)``. Only differences within one prompt mean anything."""

    def compare(self, first: Sequence[Item], second: Sequence[Item]) -> Prediction:
        """The predicted answers of a recruiter who compares each first with its second, as A and B."""

    def save(self, path: Path) -> Path:
        """Write the model to ``path``, which is returned."""


@runtime_checkable
class Relative(Protocol):
    """A reward whose ``scores`` compare the replies to one prompt with each other, and that can score each on its own too."""

    def scores_alone(self, items: Sequence[Item]) -> np.ndarray:
        """As ``scores``, ``(n,)``, but a reply has the same score whatever else is scored with it."""


class Fitter(Protocol):
    """Trains reward models of one kind; it may keep what several trainings share, such as embedded texts."""

    def fit(self, preferences: Sequence[Preference], folder: Path) -> Reward:
        """Train on all of these preferences, ties included; ``folder`` is for what the training keeps on disk.

        Raises
        ------
        DataRefused
            There are too few of them.
        """


def scores_alone(model: Reward, items: Sequence[Item]) -> np.ndarray:
    """Scores that depend on nothing but the prompt and the reply, ``(n,)``."""
    return model.scores_alone(items) if isinstance(model, Relative) else model.scores(items)


def log_odds(prediction: Prediction) -> np.ndarray:
    """log P(A) - log P(B), ``(n,)``: 0 at a mean of 0 and odd in it."""
    return np.asarray(np.log(np.maximum(prediction.a, 1e-300)) - np.log(np.maximum(prediction.b, 1e-300)))


def spread_of(model: Reward, preferences: Sequence[Preference]) -> float:
    """The root mean square of the reward's differences between the two replies of a preference."""
    items = [(each.prompt, text) for each in preferences for text in (each.a, each.b)]
    scores = model.scores(items)
    return float(np.sqrt(((scores[::2] - scores[1::2]) ** 2).mean())) if len(scores) else 0.0
