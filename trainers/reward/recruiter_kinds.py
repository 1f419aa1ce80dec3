"""Who answers at random, who has another taste, and who only has few judgments? Told apart for each recruiter; nobody is left out by it.

A lapse rate alone cannot tell: answers at random and answers by another taste are both badly predicted by the weights that all share. So
three questions are asked of a recruiter's answers.

- Do they follow the others? The weights without this recruiter's judgments predict each answer; ``evidence`` is by how many nats better
  than the frequency of this recruiter's answers does, which knows nothing of the replies.
- Are they the opposite? Then the slope of a logistic regression of the side on the predicted log-odds is below 0.
- Are they consistent with each other? Weights that are learnt from this recruiter's other answers alone predict the rest, in five folds,
  better than the frequency of the sides.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from scipy.special import expit, log_expit

from trainers.reward.online import ordinal
from trainers.reward.online.head import Head, Taste
from trainers.reward.online.history import UNANSWERED
from trainers.reward.online.posterior import Answers, latents, most_probable
from trainers.reward.online.recruiters import Recruiter
from trainers.reward.online.settings import OVERALL

FOLLOWS = 3.0  # nats of evidence above which answers follow the others: odds of 20 to 1
EXPECTED = 2 * FOLLOWS  # nats that answers like the others' would bring; with fewer expected, nobody is called careless
LAPSES = 0.1  # rate of random answers of a recruiter who follows the others
EARLIER = 5.0  # weight, in answers, of the others' frequencies in those of one recruiter
ONE_SIDED = 1.645  # normal quantile of .95
SLOPE_CENTER, SLOPE_SPREAD, PULL_SPREAD = 0.5, 1.0, 0.5  # normal priors
FOLDS = 5


class Kind(StrEnum):
    """What a recruiter's answers look like."""

    FOLLOWS = "follows the others"
    OPPOSITE = "opposite to the others"
    OWN_TASTE = "own taste"
    RANDOM = "looks random"
    UNCLEAR = "too few judgments to tell"


@dataclass(frozen=True)
class RecruiterReport:
    """One recruiter's answers to one question.

    Attributes
    ----------
    judgments, decisive : answers, and those that are no tie
    fitted : lapse rate, pull and scale as fitted in the last reconciliation
    evidence : nats for "follows the others" against "does not look at the replies"
    expected : what the same number of answers brings for the recruiters who follow each other
    slope, slope_high : of the regression on what the others predict, and its one-sided 95% bound
    own_gain : nats an answer by which the recruiter's own answers predict better than the sides' frequency
    """

    name: str
    judgments: int
    decisive: int
    fitted: Recruiter
    evidence: float
    expected: float
    slope: float
    slope_high: float
    own_gain: float

    @property
    def kind(self) -> Kind:
        """What the answers look like; who is not shown to be careless is not called so."""
        if self.evidence > FOLLOWS:
            return Kind.FOLLOWS
        if self.slope_high < 0:
            return Kind.OPPOSITE
        if self.own_gain > 0:
            return Kind.OWN_TASTE
        return Kind.RANDOM if self.expected > EXPECTED else Kind.UNCLEAR


def recruiter_reports(head: Head, question: str = OVERALL) -> list[RecruiterReport]:
    """A report on each recruiter who has answered ``question``, sorted by name."""
    answers = _Answers.of(head, question)
    found = [_report(answers, name) for name in np.unique(answers.names).tolist()]
    bring = [(each.evidence, each.judgments) for each in found if each.evidence > FOLLOWS]
    typical = sum(nats for nats, _ in bring) / max(sum(judgments for _, judgments in bring), 1)
    return [replace(each, expected=typical * each.judgments) for each in found]


@dataclass(frozen=True)
class _Answers:
    """The judgments that answer a question, first side up: ``rows`` and ``delta`` with the position as its last component."""

    head: Head
    question: str
    rows: np.ndarray
    delta: np.ndarray
    names: np.ndarray

    @classmethod
    def of(cls, head: Head, question: str) -> "_Answers":
        at = head.settings.questions.index(question)
        rows, differences = head.history.rows(), head.history.differences()
        answered = rows["lower"][:, at] != UNANSWERED
        rows = rows[answered]
        delta = np.column_stack([differences[answered].astype(float), rows["position"].astype(float)])
        return cls(head, question, rows, delta, np.array([head.history.names[i] for i in rows["recruiter"]], dtype=object).astype(str))

    @property
    def at(self) -> int:
        return self.head.settings.questions.index(self.question)

    @property
    def lower(self) -> np.ndarray:
        return np.asarray(self.rows["lower"][:, self.at].astype(int))

    @property
    def upper(self) -> np.ndarray:
        return np.asarray(self.rows["upper"][:, self.at].astype(int))

    @property
    def taste(self) -> Taste:
        return self.head.tastes[self.question]


def _report(answers: _Answers, name: str) -> RecruiterReport:
    own = answers.names == name
    decisive = answers.lower[own] != 0
    side = np.sign(answers.lower[own][decisive]).astype(float)
    delta = answers.delta[own]
    mean, covariance = _without(answers, own)
    slope, spread = _slope(delta[decisive, :-1] @ mean[:-1], delta[decisive, -1], side)
    variance = np.einsum("ij,jk,ik->i", delta, covariance, delta)
    low, high = ordinal.interval(answers.lower[own], answers.upper[own], answers.taste.cut_points)
    by_others = (1 - LAPSES) * ordinal.expected(delta @ mean, np.maximum(variance, 0), low, high)
    by_others = by_others + LAPSES * (answers.upper[own] - answers.lower[own] + 1) / (2 * ordinal.LEVELS + 1)
    return RecruiterReport(
        name=name,
        judgments=int(own.sum()),
        decisive=len(side),
        fitted=answers.head.recruiter(name, answers.question),
        evidence=float((np.log(by_others) - np.log(_frequencies(answers, own))).sum()),
        expected=0.0,
        slope=slope,
        slope_high=slope + ONE_SIDED * spread,
        own_gain=_own_gain(answers, np.flatnonzero(own)[decisive], side),
    )


def _without(answers: _Answers, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(d + 1,)`` and covariance of the weights without these judgments: their sites are taken out of the normal approximation."""
    taste = answers.taste
    covariance = np.tril(taste.covariance) + np.tril(taste.covariance, -1).T
    precision, linear = answers.rows["site_precision"][own, answers.at], answers.rows["site_linear"][own, answers.at]
    held = precision > 0
    delta, precision, linear = answers.delta[own][held], precision[held], linear[held]
    if not len(delta):
        return taste.mean, covariance
    moved = covariance @ delta.T
    inner = delta @ moved - np.diag(1 / precision)  # Woodbury's identity with negative precisions
    mean = taste.mean - moved @ np.linalg.solve(inner, delta @ taste.mean - linear / precision)
    return np.asarray(mean), np.asarray(covariance - moved @ np.linalg.solve(inner, moved.T))


def _frequencies(answers: _Answers, own: np.ndarray) -> np.ndarray:
    """The chance of each of the recruiter's answers by how often the recruiter gives it elsewhere, starting from everybody's answers."""
    levels = np.arange(-ordinal.LEVELS, ordinal.LEVELS + 1)
    covers = (answers.lower[:, None] <= levels) & (levels <= answers.upper[:, None])
    given = covers / covers.sum(axis=1, keepdims=True)
    everybody = given.sum(axis=0) + given.sum(axis=0)[::-1] + 1  # neither side is favoured
    earlier = EARLIER * everybody / everybody.sum()
    elsewhere = given[own].sum(axis=0) - given[own] + earlier
    return np.asarray((covers[own] * elsewhere).sum(axis=1) / (own.sum() - 1 + EARLIER))


def _slope(predicted: np.ndarray, shown: np.ndarray, side: np.ndarray) -> tuple[float, float]:
    """Posterior mode and standard deviation of the slope in ``P(side) = sigmoid(side (slope * predicted + pull * shown))``."""
    design, found = np.column_stack([predicted, shown]), np.array([SLOPE_CENTER, 0.0])
    prior = np.diag([SLOPE_SPREAD**-2, PULL_SPREAD**-2])
    for _ in range(50):
        chance = expit(side * (design @ found))
        gradient = design.T @ (side * (1 - chance)) - prior @ (found - [SLOPE_CENTER, 0.0])
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + prior
        step = np.linalg.solve(curvature, gradient)
        found = found + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-8:
            break
    return float(found[0]), float(math.sqrt(np.linalg.inv(curvature)[0, 0]))


def _own_gain(answers: _Answers, decisive: np.ndarray, side: np.ndarray) -> float:
    """Mean log-likelihood of the decisive answers under weights from the recruiter's others, minus that under the sides' frequency."""
    n, taste, head = len(side), answers.taste, answers.head
    if n < 2 * FOLDS:
        return 0.0
    low, high = ordinal.interval(answers.lower[decisive], answers.upper[decisive], taste.cut_points)
    delta = answers.delta[decisive].astype(np.float32)
    precision = 1 / np.diag(Taste.prior(head.settings, head.dimension).covariance)
    fold, gains, cut = np.arange(n) % FOLDS, np.empty(n), taste.cut_points[0]
    for one in range(FOLDS):
        known = fold != one
        some = Answers(delta[known], low[known], high[known], np.zeros(known.sum()), np.ones(known.sum()))
        z = side[~known] * latents(delta[~known], most_probable(some, precision, tolerance=1e-4))
        first = ((side[known] > 0).sum() + 1) / (known.sum() + 2)
        by_frequency = np.log(np.where(side[~known] > 0, first, 1 - first))
        gains[~known] = log_expit(np.logaddexp(0, z + cut) - np.logaddexp(0, cut - z)) - by_frequency
    return float(gains.mean())
