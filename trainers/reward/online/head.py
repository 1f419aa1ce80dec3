"""The online reward head as an immutable value: its settings, its position in the log, and for each question weights and covariance."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import orjson
from scipy.linalg.blas import dsymm
from scipy.special import expit

from storage.events import Source
from trainers.reward.online.history import History
from trainers.reward.online.recruiters import Recruiter
from trainers.reward.online.settings import GUARD_FEATURES, OVERALL, HeadSettings

FORMULATION = 7  # bump on every change that gives other weights or counts for the same preferences


def head_id(settings: HeadSettings, embedding_hash: str, sources: Sequence[Source]) -> str:
    """The SHA-256 that identifies a head: another formulation, setting, embedding or set of sources gives another head."""
    parts = [FORMULATION, settings.model_dump(mode="json"), embedding_hash, sorted(set(sources))]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Prediction(NamedTuple):
    """Predicted answers to n pairs: ``mean`` and ``variance`` of the log-odds, and the probabilities of A, tie and B."""

    mean: np.ndarray
    variance: np.ndarray
    a: np.ndarray
    tie: np.ndarray
    b: np.ndarray


@dataclass(frozen=True)
class Taste:
    """What the answers to one question value.

    Attributes
    ----------
    mean : weights of the features and, as the last entry, the pull of the side shown first; shape ``(d + 1,)``
    covariance : of ``mean``, F-ordered; only the lower triangle counts
    cut_points : where the four strengths begin, as fitted by the last reconciliation
    recruiters : by name, as fitted by the last reconciliation
    owned : whether no other taste has the same arrays
    """

    mean: np.ndarray
    covariance: np.ndarray
    cut_points: tuple[float, ...]
    recruiters: Mapping[str, Recruiter] = field(default_factory=dict)
    owned: bool = False

    @classmethod
    def prior(cls, settings: HeadSettings, dimension: int) -> "Taste":
        """Before the first answer."""
        scale = np.full(dimension + 1, settings.prior_scale)
        scale[-1 - GUARD_FEATURES : -1] *= settings.guard_share
        scale[-1] = settings.position_scale
        return cls(np.zeros(dimension + 1), np.asfortranarray(np.diag(scale**2)), settings.cut_points)

    @property
    def weights(self) -> np.ndarray:
        """The features' weights, shape ``(d,)``: a reply's reward is ``features @ weights``, up to a constant of its prompt."""
        return self.mean[:-1]

    def copied(self) -> "Taste":
        """With arrays of its own, which learning updates in place."""
        return replace(self, mean=self.mean.copy(), covariance=self.covariance.copy(order="F"), owned=True)


@dataclass(frozen=True)
class Head:
    """The head after entry ``sequence``; make one with :func:`new_head`, and the next one with ``learn``.

    Attributes
    ----------
    tastes : by question: ``overall``, and each objective of the settings
    judgments_seen : pairs with an overall judgment that counts towards the retraining threshold; several judgments of a pair count once
    marked : whether a judgment was removed since the last reconciliation took effect, so that traces of it may remain
    reconciled_at : the last sequence number included in the last reconciliation, 0 before the first
    """

    settings: HeadSettings
    embedding_hash: str
    sources: tuple[Source, ...]
    tastes: Mapping[str, Taste]
    history: History
    sequence: int = 0
    judgments_seen: int = 0
    marked: bool = False
    reconciled_at: int = 0

    @property
    def overall(self) -> Taste:
        """The taste behind the overall answers."""
        return self.tastes[OVERALL]

    @property
    def dimension(self) -> int:
        return len(self.overall.mean) - 1

    @property
    def head_id(self) -> str:
        return head_id(self.settings, self.embedding_hash, self.sources)

    @property
    def weights(self) -> np.ndarray:
        """The features' weights for the overall answer, shape ``(d,)``."""
        return self.overall.weights

    @property
    def prequential(self) -> tuple[float | None, float | None, int]:
        """Accuracy and log loss of predicting the latest decisive overall answers before learning them, and how many those are."""
        return self.prequential_of(OVERALL)

    def prequential_of(self, question: str) -> tuple[float | None, float | None, int]:
        """As :attr:`prequential`, for the answers to any question."""
        at = self.settings.questions.index(question)
        rows = self.history.latest_decisive(self.settings.prequential_window, at)
        if not len(rows):
            return None, None, 0
        return float(rows["hit"][:, at].mean(dtype=float)), float(rows["loss"][:, at].mean(dtype=float)), len(rows)

    def recruiter(self, name: str, question: str = OVERALL) -> Recruiter:
        """The recruiter as fitted by the last reconciliation, or the prior's means."""
        return self.tastes[question].recruiters.get(name, self.settings.recruiter_prior.start)


def new_head(settings: HeadSettings, embedding_hash: str, dimension: int, sources: Sequence[Source]) -> Head:
    """The head before the first preference, for features of ``dimension`` components, learning from ``sources``."""
    prior = Taste.prior(settings, dimension)
    return Head(
        settings=settings,
        embedding_hash=embedding_hash,
        sources=tuple(sorted(set(sources))),
        tastes=dict.fromkeys(settings.questions, prior),
        history=History.empty(dimension, len(settings.questions)),
    )


def predict(head: Head, differences: np.ndarray, question: str = OVERALL) -> Prediction:
    """Predict the answers to ``question`` about pairs, without the effects of position and recruiter.

    Parameters
    ----------
    differences : features of A minus features of B, ``(n, d)``

    Notes
    -----
    ``P(A) = sigmoid(kappa (m - c_1))`` with ``kappa = 1 / sqrt(1 + pi v / 8)``.
    """
    taste = head.tastes[question]
    padded = np.zeros((head.dimension + 1, len(differences)), order="F")
    padded[:-1] = np.asarray(differences, dtype=float).T
    mean = taste.mean @ padded
    variance = np.einsum("ij,ij->j", padded, dsymm(1.0, taste.covariance, padded, lower=1)) if len(differences) else np.empty(0)
    kappa = 1 / np.sqrt(1 + math.pi * variance / 8)
    first = taste.cut_points[0]
    a, b = expit(kappa * (mean - first)), expit(kappa * (-mean - first))
    return Prediction(mean, variance, a, np.maximum(1 - (a + b), 0), b)
