"""The online reward head as an immutable value: its settings, its position in the log, its weights and their covariance."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import orjson
from scipy.linalg.blas import dsymm
from scipy.special import expit

from storage.events import Source
from trainers.reward.online.history import History
from trainers.reward.online.recruiters import Recruiter
from trainers.reward.online.settings import HeadSettings

FORMULATION = 6  # bump on every change that gives other weights or counts for the same preferences


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
class Head:
    """The head after entry ``sequence``; make one with :func:`new_head`, and the next one with ``learn``.

    Attributes
    ----------
    mean : weights of the features and, as the last entry, the pull of the side shown first; shape ``(d + 1,)``
    covariance : of ``mean``, F-ordered; only the lower triangle counts
    judgments_seen : pairs with a judgment that counts towards the retraining threshold; several judgments of a pair count once
    cut_points : where the four strengths begin, as fitted by the last reconciliation
    marked : whether a judgment was removed since the last reconciliation took effect, so that traces of it may remain
    reconciled_at : the last sequence number included in the last reconciliation, 0 before the first
    """

    settings: HeadSettings
    embedding_hash: str
    sources: tuple[Source, ...]
    mean: np.ndarray
    covariance: np.ndarray
    cut_points: tuple[float, ...]
    history: History
    sequence: int = 0
    judgments_seen: int = 0
    recruiters: Mapping[str, Recruiter] = field(default_factory=dict)
    marked: bool = False
    reconciled_at: int = 0

    @property
    def dimension(self) -> int:
        return len(self.mean) - 1

    @property
    def head_id(self) -> str:
        return head_id(self.settings, self.embedding_hash, self.sources)

    @property
    def weights(self) -> np.ndarray:
        """The features' weights, shape ``(d,)``: a reply's reward is ``features @ weights``, up to a constant of its prompt."""
        return self.mean[:-1]

    @property
    def prequential(self) -> tuple[float | None, float | None, int]:
        """Accuracy and log loss of predicting the latest decisive judgments before learning them, and how many those are."""
        rows = self.history.latest_decisive(self.settings.prequential_window)
        if not len(rows):
            return None, None, 0
        return float(rows["hit"].mean()), float(rows["loss"].mean()), len(rows)

    def recruiter(self, name: str) -> Recruiter:
        """The recruiter as fitted by the last reconciliation, or the prior's means."""
        return self.recruiters.get(name, self.settings.recruiter_prior.start)


def new_head(settings: HeadSettings, embedding_hash: str, dimension: int, sources: Sequence[Source]) -> Head:
    """The head before the first preference, for features of ``dimension`` components, learning from ``sources``."""
    scale = np.full(dimension + 1, settings.prior_scale)
    scale[-1] = settings.position_scale
    return Head(
        settings=settings,
        embedding_hash=embedding_hash,
        sources=tuple(sorted(set(sources))),
        mean=np.zeros(dimension + 1),
        covariance=np.asfortranarray(np.diag(scale**2)),
        cut_points=settings.cut_points,
        history=History(dimension),
    )


def predict(head: Head, differences: np.ndarray) -> Prediction:
    """Predict the answers to pairs, without the effects of position and recruiter.

    Parameters
    ----------
    differences : features of A minus features of B, ``(n, d)``

    Notes
    -----
    ``P(A) = sigmoid(kappa (m - c_1))`` with ``kappa = 1 / sqrt(1 + pi v / 8)``.
    """
    padded = np.zeros((head.dimension + 1, len(differences)), order="F")
    padded[:-1] = np.asarray(differences, dtype=float).T
    mean = head.mean @ padded
    variance = np.einsum("ij,ij->j", padded, dsymm(1.0, head.covariance, padded, lower=1)) if len(differences) else np.empty(0)
    kappa = 1 / np.sqrt(1 + math.pi * variance / 8)
    first = head.cut_points[0]
    a, b = expit(kappa * (mean - first)), expit(kappa * (-mean - first))
    return Prediction(mean, variance, a, np.maximum(1 - (a + b), 0), b)
