"""How often would recruiters prefer the challenger's reply to the champion's? Answered by a head that no training has seen.

The head is fitted on judgments of the evaluation stratum alone and asked for the sign of the reward difference on each prompt. The interval
comes from refitting it on resampled recruiters and prompts. Such a head is weak and understates a true advantage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from trainers.evaluation.intervals import Interval, logit_interval
from trainers.reward.ordinal import interval as stretch
from trainers.reward.posterior import Answers, most_probable

EQUAL = 1e-9  # reward differences closer to zero than this are rounding


@dataclass(frozen=True)
class Judged:
    """Judgments of the evaluation stratum as arrays of n.

    Attributes
    ----------
    a, b : features of the replies, ``(n, d)``
    position : 1 where A was shown first, -1 where B was, 0 where nobody knows
    lower, upper : the levels that the answer stands for, A's side up (``trainers.reward.ordinal.levels``)
    recruiter : who answered, as ids
    weight, pull : reliability and own pull of the side shown first of each answer's recruiter
    """

    a: np.ndarray
    b: np.ndarray
    position: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    recruiter: np.ndarray
    weight: np.ndarray
    pull: np.ndarray


@dataclass(frozen=True)
class WinRate:
    """The challenger's win rate with its interval, on how much evidence, and what stands beside it.

    ``length_controlled`` is the rate at equal length; ``null`` the champion's rate against a second sample of itself; ``outside`` the
    shares of the challenger's and the champion's replies that lie outside what the head has seen judged.
    """

    rate: Interval
    alpha: float
    prompts: int
    judgments: int
    recruiters: int
    length_controlled: float
    null: float | None
    outside: tuple[float, float]


class EvaluationHead:
    """The most probable weights given judgments, refitted quickly: in the space that the judged differences span.

    With a prior that is the same in every direction the most probable weights lie in that span, so a few hundred coordinates are enough
    whatever the features' number.
    """

    def __init__(self, judged: Judged, prior_scale: float, position_scale: float, cut_points: Sequence[float]) -> None:
        differences = (judged.a - judged.b).astype(float)
        _, sizes, rows = np.linalg.svd(differences, full_matrices=False)
        self._basis = rows[sizes > 1e-8 * max(sizes.max(initial=0), 1e-30)].T
        coordinates = np.column_stack([differences @ self._basis, judged.position])
        low, high = stretch(judged.lower, judged.upper, cut_points)
        self._answers = Answers(coordinates, low, high, judged.pull * judged.position, judged.weight)
        self._precision = np.append(np.full(coordinates.shape[1] - 1, prior_scale**-2.0), position_scale**-2.0)

    def project(self, differences: np.ndarray) -> np.ndarray:
        """Feature differences ``(m, d)`` in the head's coordinates."""
        return np.asarray(differences.astype(float) @ self._basis)

    def fit(self, counts: np.ndarray | None = None, start: np.ndarray | None = None) -> np.ndarray:
        """The weights in the head's coordinates, the position's last; ``counts`` says how often each judgment was drawn."""
        answers = self._answers
        if counts is not None:
            held = counts > 0
            answers = Answers(
                answers.differences[held], answers.low[held], answers.high[held], answers.offset[held], answers.weight[held] * counts[held]
            )
        return most_probable(answers, self._precision, start, tolerance=1e-6)


def win_share(differences: np.ndarray) -> float:
    """The mean of 1[difference > 0] + ½·1[difference = 0]."""
    return float(np.where(np.abs(differences) <= EQUAL, 0.5, differences > 0).mean())


def win_rate(
    judged: Judged,
    challenger: np.ndarray,
    champion: np.ndarray,
    again: np.ndarray | None,
    log_lengths: np.ndarray,
    *,
    challengers_before: int,
    alpha: float,
    resamples: int,
    prior_scale: float,
    position_scale: float,
    cut_points: Sequence[float],
    seed: int,
) -> tuple[WinRate, np.ndarray]:
    """Judge the challenger's replies against the champion's on the same prompts.

    Parameters
    ----------
    challenger, champion : features of their replies, ``(m, d)``
    again : features of the champion's second sample on the first prompts, ``(k, d)`` with k <= m, or None
    log_lengths : log length of the challenger's reply minus that of the champion's, ``(m,)``
    challengers_before : verdicts spoken before; the k-th challenger spends ``alpha / k²``

    Returns
    -------
    The win rate, and the reward difference on each prompt, ``(m,)``.
    """
    head = EvaluationHead(judged, prior_scale, position_scale, cut_points)
    weights = head.fit()
    between = head.project(challenger - champion)
    differences = between @ weights[:-1]
    figure = win_share(differences)

    rng = np.random.default_rng(seed)
    names, who = np.unique(judged.recruiter, return_inverse=True)
    redrawn = np.empty(resamples)
    for i in range(resamples):
        drawn = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        refitted = head.fit(drawn[who], start=weights)
        prompts = rng.integers(len(between), size=len(between))
        redrawn[i] = win_share(between[prompts] @ refitted[:-1])
    spent = alpha / (challengers_before + 1) ** 2
    null = None
    if again is not None and len(again):
        null = win_share(head.project(again - champion[: len(again)]) @ weights[:-1])
    seen = np.concatenate([judged.a, judged.b])
    found = WinRate(
        rate=logit_interval(figure, redrawn, len(names), spent),
        alpha=spent,
        prompts=len(between),
        judgments=len(judged.lower),
        recruiters=len(names),
        length_controlled=length_controlled(differences, log_lengths),
        null=null,
        outside=(outside_support(challenger, seen), outside_support(champion, seen)),
    )
    return found, differences


def length_controlled(differences: np.ndarray, log_lengths: np.ndarray) -> float:
    """The win rate that a logistic regression of winning on the difference of log lengths gives at equal lengths.

    After Dubois et al. (2024), "Length-Controlled AlpacaEval" (arXiv:2404.04475), with length as the only term.
    """
    won = np.where(np.abs(differences) <= EQUAL, 0.5, differences > 0)
    scale = float(log_lengths.std()) or 1.0
    x = np.column_stack([np.ones(len(won)), np.tanh(log_lengths / scale)])
    weights = np.zeros(2)
    for _ in range(50):
        chance = expit(x @ weights)
        information = (x * (chance * (1 - chance))[:, None]).T @ x + 1e-3 * np.eye(2)  # bounded where one side always wins
        step = np.linalg.solve(information, x.T @ (won - chance) - 1e-3 * weights)
        weights += step
        if np.abs(step).max() < 1e-10:
            break
    return float(expit(weights[0]))


def outside_support(features: np.ndarray, seen: np.ndarray) -> float:
    """The share of replies farther from every judged reply than 99 % of the judged replies are from each other's nearest.

    Rows of zeros stand for replies that were not embedded, because both models gave them, and do not count.
    """
    features = features[np.any(features != 0, axis=1)]
    if len(seen) < 2 or not len(features):
        return 0.0
    among = _squared_distances(seen, seen)
    among[among <= 1e-12] = np.inf  # itself, and its copies
    nearest = among.min(axis=1)
    limit = np.quantile(nearest[np.isfinite(nearest)], 0.99) if np.isfinite(nearest).any() else 0.0
    return float((_squared_distances(features, seen).min(axis=1) > limit).mean())


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = one.astype(float), other.astype(float)
    return np.asarray(np.maximum((one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T, 0))
