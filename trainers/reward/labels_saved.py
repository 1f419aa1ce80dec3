"""Does asking informative pairs first save judgments? Compares heads that learnt from either arm of the rating queue on held-out pairs.

A head learns all n judgments of the arm ``uniform``. Others learn the first m of the arm ``informative``, for growing m, and the ratio is
the smallest m whose held-out log loss is no worse, divided by n: .7 means that seven informative judgments taught as much as ten uniform
ones. The held-out pairs are those of the evaluation stratum, which are always asked uniformly. The interval resamples conversations, of
the judgments learnt and of those held out. The published results on active selection point both ways, so the ratio is measured where it is
used.

The heads are the modes of the online head's posterior with its cut points, without recruiters' lapses and scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_expit

from trainers.data.preference import Preference
from trainers.reward.online import ordinal
from trainers.reward.online.head import Head, Taste
from trainers.reward.online.posterior import Answers, latents, most_probable
from trainers.reward.online.settings import OVERALL

LEAST_UNIFORM, LEAST_HELD_OUT = 40, 50  # judgments below which nothing is said
STEPS = 8  # numbers of informative judgments that are tried
REPEATS = 60


@dataclass(frozen=True)
class LabelsSaved:
    """``ratio`` of judgments for the same log loss, with a 95% bootstrap interval; None where it cannot be told yet.

    Attributes
    ----------
    uniform, informative, held_out : judgments of either arm, and decisive ones to compare on
    high : None where the informative judgments may not reach the uniform ones
    at_least : the ratio is above this, because all informative judgments together do not reach the uniform ones
    """

    uniform: int
    informative: int
    held_out: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    at_least: float | None = None


def labels_saved(arms: Sequence[tuple[Preference, str]], head: Head, seed: int = 0) -> LabelsSaved:
    """The ratio for preferences with their arms, in the order in which they were judged; all have features of the head's embedding."""
    training = [(each, arm) for each, arm in arms if each.stratum == "training"]
    uniform = [each for each, arm in training if arm == "uniform"]
    informative = [each for each, arm in training if arm == "informative"]
    held_out = [each for each, _ in arms if each.stratum == "evaluation" and each.choice in ("A", "B")]
    known = LabelsSaved(len(uniform), len(informative), len(held_out))
    if len(uniform) < LEAST_UNIFORM or len(informative) < LEAST_UNIFORM or len(held_out) < LEAST_HELD_OUT:
        return known
    numbers = np.unique(np.linspace(LEAST_UNIFORM // 4, min(len(informative), 4 * len(uniform)), STEPS).astype(int))
    ratios = numbers / len(uniform)
    curves = _Curves(head, uniform, informative, held_out, numbers)
    reached = _first_reached(*curves.losses(None), ratios)
    if not np.isfinite(reached):
        return replace(known, at_least=float(ratios[-1]))
    rng = np.random.default_rng(seed)
    low, high = np.quantile(
        [_first_reached(*curves.losses(rng), ratios) for _ in range(REPEATS)], [0.025, 0.975], method="closest_observation"
    )
    return replace(known, ratio=reached, low=float(low), high=float(high) if np.isfinite(high) else None)


class _Judgments:
    """Differences with the position as their last component, intervals of the latent scale, and conversations as numbers."""

    def __init__(self, preferences: Sequence[Preference], cut_points: Sequence[float]) -> None:
        features = [each.features for each in preferences]
        position = [0.0 if each.shown_first is None else 1.0 if each.shown_first == "A" else -1.0 for each in preferences]
        differences = [each.a.astype(np.float32) - each.b for each in features if each is not None]
        self.differences = np.column_stack([np.array(differences), np.array(position, np.float32)])
        levels = np.array([ordinal.levels(each.overall, each.strength) for each in preferences])
        self.low, self.high = ordinal.interval(levels[:, 0], levels[:, 1], cut_points)
        names = [each.conversation_id or str(i) for i, each in enumerate(preferences)]
        _, self.conversation = np.unique(names, return_inverse=True)
        self.first = np.array([each.choice == "A" for each in preferences])

    def weights(self, rng: np.random.Generator | None) -> np.ndarray:
        """How often each judgment is drawn when conversations are resampled, ``(n,)``; once without ``rng``."""
        if rng is None:
            return np.ones(len(self.low))
        count = int(self.conversation.max()) + 1
        return np.asarray(rng.multinomial(count, np.full(count, 1 / count))[self.conversation], float)


class _Curves:
    def __init__(
        self,
        head: Head,
        uniform: Sequence[Preference],
        informative: Sequence[Preference],
        held_out: Sequence[Preference],
        numbers: np.ndarray,
    ) -> None:
        self._cuts = head.tastes[OVERALL].cut_points
        self._precision = 1 / np.diag(Taste.prior(head.settings, head.dimension).covariance)
        self._uniform, self._informative = _Judgments(uniform, self._cuts), _Judgments(informative, self._cuts)
        self._held_out, self._numbers = _Judgments(held_out, self._cuts), numbers

    def losses(self, rng: np.random.Generator | None) -> tuple[float, np.ndarray]:
        """The held-out log loss after all uniform judgments, and after each number of informative ones."""
        weights = self._held_out.weights(rng)
        drawn = self._informative.weights(rng)
        wanted = self._loss(self._uniform, self._uniform.weights(rng), weights)
        return wanted, np.array(
            [self._loss(self._informative, np.where(np.arange(len(drawn)) < m, drawn, 0), weights) for m in self._numbers]
        )

    def _loss(self, learnt: _Judgments, drawn: np.ndarray, weights: np.ndarray) -> float:
        some = drawn > 0
        answers = Answers(learnt.differences[some], learnt.low[some], learnt.high[some], np.zeros(some.sum()), drawn[some])
        found = most_probable(answers, self._precision, tolerance=1e-4)
        z, cut = latents(self._held_out.differences[:, :-1], found[:-1]), self._cuts[0]
        chosen = np.where(self._held_out.first, log_expit(z - cut), log_expit(-z - cut))
        return float(weights @ (np.logaddexp(log_expit(z - cut), log_expit(-z - cut)) - chosen) / weights.sum())


def _first_reached(wanted: float, losses: np.ndarray, ratios: np.ndarray) -> float:
    """The smallest ratio whose loss is at most ``wanted``; infinite if none is."""
    reached = np.flatnonzero(losses <= wanted)
    return float(ratios[reached[0]]) if len(reached) else float("inf")
