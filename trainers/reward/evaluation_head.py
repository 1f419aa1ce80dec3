"""A reward head for one or two hundred judgments, fast enough to refit in a bootstrap: the judge of an evaluation.

It never shares data or weights with the head that ranks and trains. With fewer judgments than features, Newton's method runs in the dual,
the space of the judgments (Rasmussen and Williams, 2006, algorithm 3.1), so hundreds of bootstrap refits take seconds. Each fit chooses the
prior's scale by the marginal likelihood of its own judgments.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from trainers.data.preference import Preference
from trainers.reward.online import ordinal
from trainers.reward.online.learn import UNKNOWN
from trainers.reward.online.settings import HeadSettings, Positive


class EvaluationHeadSettings(BaseModel):
    """How an evaluation head is fitted.

    Attributes
    ----------
    scales : candidates for the prior standard deviation of the log-odds between two typical judged replies; chosen by marginal likelihood
    scale_center, scale_spread : a log-normal prior on that choice, which matters when there are few judgments. The scale that ranks best is
        smaller than the likelihood alone prefers (150 simulated judgments, accuracy by scale: .25 .785, .5 .783, 1 .766, 2 .728)
    head : cut points and the priors of position, pull and lapses, as in the online head
    rounds : EM rounds for the recruiters' reliability
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.15, 0.3, 0.6)
    scale_center: Positive = 0.3
    scale_spread: Positive = 0.6
    head: HeadSettings = HeadSettings()
    rounds: Annotated[int, Field(ge=0, le=20)] = 2


@dataclass(frozen=True)
class Judged:
    """Judgments as arrays of length n, oriented towards A.

    Attributes
    ----------
    differences : features of A minus features of B, ``(n, d)``
    lower, upper : lowest and highest level of each answer, see ``ordinal``
    position : 1 if A was shown first, -1 if B was, 0 if unknown
    recruiter, prompt : cluster labels for resampling
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
        levels = np.array([ordinal.levels(c.choice, c.strength) for c in preferences], int).reshape(-1, 2)
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


@dataclass(frozen=True)
class EvaluationHead:
    """The fitted feature weights; ``scale`` is the chosen prior scale, ``lapses`` the fitted lapse rate of each recruiter."""

    weights: np.ndarray
    scale: float
    lapses: dict[str, float]
    log_evidence: float

    def margins(self, differences: np.ndarray) -> np.ndarray:
        """Reward of the first reply minus reward of the second, ``(m,)``, for differences of features ``(m, d)``."""
        return np.asarray(np.asarray(differences, float) @ self.weights)


def fit(judged: Judged, settings: EvaluationHeadSettings | None = None, counts: np.ndarray | None = None) -> EvaluationHead:
    """The head with the most probable weights; ``counts`` (n,) weights the judgments, by default with 1."""
    settings = settings or EvaluationHeadSettings()
    return _fit(judged, _Kernels.of(judged, settings), settings, np.ones(len(judged)) if counts is None else counts)


def bootstrap(judged: Judged, *, draws: int, seed: int, settings: EvaluationHeadSettings | None = None) -> Iterator[EvaluationHead]:
    """``draws`` heads, each refitted on recruiters and prompts drawn with replacement, independently of each other.

    A judgment's weight is the number of draws of its recruiter times that of its prompt. If only one recruiter is named, only prompts vary.
    """
    settings = settings or EvaluationHeadSettings()
    kernels = _Kernels.of(judged, settings)
    rng = np.random.default_rng(seed)
    groups = [np.unique(names, return_inverse=True) for names in (judged.recruiter, judged.prompt)]
    for _ in range(draws):
        counts = np.zeros(len(judged))
        while not counts.any():
            counts = np.ones(len(judged))
            for names, index in groups:
                if len(names) > 1:
                    counts = counts * np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[index]
        yield _fit(judged, kernels, settings, counts)


@dataclass(frozen=True)
class _Kernels:
    """Prior covariances of the judgments' latents, ``(n, n)``: from the features at scale 1, and from position and recruiters' pulls.

    ``size`` is the mean squared length of the feature differences, which normalises their kernel.
    """

    size: float
    features: np.ndarray
    position: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, judged: Judged, settings: EvaluationHeadSettings) -> "_Kernels":
        same = judged.recruiter[:, None] == judged.recruiter[None, :]
        shown = np.outer(judged.position, judged.position).astype(float)
        position = shown * (settings.head.position_scale**2 + same * settings.head.pull_scale**2)
        low, high = ordinal.interval(judged.lower, judged.upper, settings.head.cut_points)
        products = judged.differences @ judged.differences.T
        size = float(np.trace(products) / max(len(judged), 1)) or 1.0
        return cls(size, products / size, position, low, high)


def _fit(judged: Judged, kernels: _Kernels, settings: EvaluationHeadSettings, counts: np.ndarray) -> EvaluationHead:
    at = np.flatnonzero(counts)
    counts, low, high = counts[at], kernels.low[at], kernels.high[at]
    features, position = kernels.features[np.ix_(at, at)], kernels.position[np.ix_(at, at)]
    names, who = np.unique(judged.recruiter[at], return_inverse=True)
    prior = settings.head.recruiter_prior
    chance = (judged.upper[at] - judged.lower[at] + 1) / (2 * ordinal.LEVELS + 1)
    lapse = np.full(len(names), prior.start.lapse)
    for round_ in range(settings.rounds + 1):
        weight = counts * (1 - lapse[who])
        found = [(scale, newton(scale**2 * features + position, low, high, weight)) for scale in settings.scales]
        evidence = [mode.log_evidence - 0.5 * (np.log(scale / settings.scale_center) / settings.scale_spread) ** 2 for scale, mode in found]
        best = int(np.argmax(evidence))
        scale, mode = found[best]
        if round_ < settings.rounds:
            by_chance = lapse[who] * chance
            by_model = (1 - lapse[who]) * ordinal.expected(mode.left_out_mean, mode.left_out_variance, low, high)
            lapsed = np.bincount(who, weights=counts * by_chance / (by_chance + by_model), minlength=len(names))
            total = np.bincount(who, weights=counts, minlength=len(names))
            lapse = (prior.lapsed + lapsed) / (prior.lapsed + prior.attentive + total)
    return EvaluationHead(
        weights=scale**2 / kernels.size * (mode.dual @ judged.differences[at]),
        scale=scale,
        lapses={str(name): float(value) for name, value in zip(names, lapse, strict=True)},
        log_evidence=evidence[best],
    )


@dataclass(frozen=True)
class Mode:
    """The posterior's mode: ``latent``, and ``dual``, the gradient of the log-likelihood there, from which the weights are computed.

    ``left_out_mean`` and ``left_out_variance`` are each latent's leave-one-out mean and variance.
    """

    latent: np.ndarray
    dual: np.ndarray
    log_evidence: float
    left_out_mean: np.ndarray
    left_out_variance: np.ndarray


def newton(kernel: np.ndarray, low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> Mode:
    """The mode of latents with prior covariance ``kernel`` whose answers lie in ``low`` to ``high``, each weighted."""
    latent, value = np.zeros(len(low)), -np.inf
    dual = np.zeros(len(low))
    for _ in range(50):
        h = weight * ordinal.curvature(latent, low, high)
        target = h * latent + weight * ordinal.slope(latent, low, high)
        roots = np.sqrt(h)
        factor = cho_factor(np.eye(len(h)) + roots[:, None] * kernel * roots, lower=True, overwrite_a=True, check_finite=False)
        full_step = target - roots * cho_solve(factor, roots * (kernel @ target), check_finite=False)
        for halving in range(20):
            trial = dual + (full_step - dual) * 0.5**halving
            moved = kernel @ trial
            new = float(weight @ ordinal.log_likelihood(moved, low, high) - 0.5 * trial @ moved)
            if new >= value - 1e-12 * abs(value):
                break
        converged = np.abs(moved - latent).max() < 1e-6
        dual, latent, value = trial, moved, new
        if converged:
            break
    log_evidence = value - float(np.log(np.diag(factor[0])).sum())
    # Opper and Winther's leave-one-out at the Laplace approximation: take one site out of the marginal.
    half = solve_triangular(factor[0], roots[:, None] * kernel, lower=True, check_finite=False)
    variance = np.diag(kernel) - (half**2).sum(axis=0)
    remaining = np.maximum(1 - h * variance, 1e-9)
    return Mode(latent, dual, log_evidence, latent - variance * dual / remaining, variance / remaining)
