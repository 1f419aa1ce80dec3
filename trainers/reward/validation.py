"""Train a reward head on preference records and validate it on held-out ones: ``feedbackloop train --phase reward``.

Prompts are split by ``storage.strata``, as everywhere; five-fold cross-validation over all prompts, which has a narrower interval, is
reported too. Needs no bus and no hub.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from storage.errors import DataRefused
from storage.settings import Settings
from trainers.data.bad_lines import DataSummary
from trainers.data.preference import Preference
from trainers.data.records import read_preferences
from trainers.features.embedder import Embedder
from trainers.features.settings import FeatureSettings
from trainers.reward import measures
from trainers.reward.measures import Figure
from trainers.reward.online import ordinal
from trainers.reward.online.posterior import Answers, latents, most_probable, posterior_at
from trainers.reward.online.settings import HeadSettings

# Inner cross-validation on the training part chooses the prior: the standard deviation of the log-odds that the embeddings contribute to a
# pair of typical size, and the guards' as a share of it. Texts unlike those that the whitening was fitted on differ in both.
SCALES = (0.15, 0.3, 0.6, 1.2)
GUARD_SHARES = (1.0, 0.3, 0.1)
FOLDS = 5
EMBED_BATCH = 64

Progress = Callable[[str, int, int], None]


class Validated(BaseModel):
    """Figures on preferences that the head has not seen. ``longer`` is the accuracy of always choosing the longer reply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int
    prompts: int
    accuracy: Figure
    auc: Figure
    log_loss: float
    calibration_error: float
    calibration_error_if_calibrated: float
    longer: Figure


class RewardReport(BaseModel):
    """Results of training a reward head. Ties are trained on, but left out of every figure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: int
    bad_lines: int
    first_bad_line: str | None
    training_pairs: int
    ties: int
    embedding_hash: str
    prior_scale: float
    guard_share: float
    held_out: Validated
    cross_validated: Validated

    def as_text(self) -> str:
        """The report as a text table."""
        parts = (("held out", self.held_out), (f"{FOLDS}-fold", self.cross_validated))
        prior = f"prior scale {self.prior_scale:g}, guards {self.guard_share:g}"
        lines = [f"{self.training_pairs} of {self.records} records train; {prior}; split by prompt"]
        lines.append(f"{'':24}" + "".join(f"{name + f' ({part.pairs})':>26}" for name, part in parts))
        for name, label in (("accuracy", "accuracy"), ("auc", "AUC"), ("longer", "always the longer")):
            figures = [getattr(part, name) for _, part in parts]
            lines.append(f"{label:24}" + "".join(f"{f'{f.value:.3f} [{f.low:.3f}, {f.high:.3f}]':>26}" for f in figures))
        for name, label in (("log_loss", "log loss"), ("calibration_error", "calibration error"),
                            ("calibration_error_if_calibrated", "  if it were calibrated")):  # fmt: skip
            lines.append(f"{label:24}" + "".join(f"{getattr(part, name):>26.3f}" for _, part in parts))
        return "\n".join(lines)


def train_reward(
    path: Path,
    settings: Settings,
    progress: Progress | None = None,
    *,
    swap_sides: bool = False,
    on_data: Callable[[DataSummary], None] | None = None,
) -> RewardReport:
    """Train on the training stratum of a file or snapshot and validate on the rest.

    ``swap_sides`` exchanges A and B of every record first, which must not change the report. ``on_data`` is called with the counts of
    accepted and rejected records before training starts.

    Raises
    ------
    ConfigurationError
        There is nothing readable at ``path``.
    DataRefused
        None of its lines is a record, or there are too few on one side of the split.
    """
    data = read_preferences(path)
    if on_data is not None:
        on_data(DataSummary.of(data.preferences, data.bad, data.layout))
    embedder = Embedder.load(settings.section("features", FeatureSettings))
    preferences = tuple(c.swapped() for c in data.preferences) if swap_sides else data.preferences
    features = _embedded(preferences, embedder, progress or (lambda stage, step, steps: None))
    held_out = np.array([c.stratum == "evaluation" for c in preferences])
    decisive = np.array([c.choice != "tie" for c in preferences])
    if (held_out & decisive).sum() < 10 or (~held_out & decisive).sum() < 20:
        raise DataRefused(
            f"{path}: {(~held_out & decisive).sum()} decisive comparisons to train on and {(held_out & decisive).sum()} held out; "
            "at least 20 and 10 are needed, on different prompts"
        )
    rows = _Rows.of(preferences, features, embedder.guards, settings.section("learning", HeadSettings))
    prior, margins = _margins(rows, ~held_out, held_out)
    folds = np.array([hashlib.sha256(f"fold {c.conversation_id}".encode()).digest()[0] % FOLDS for c in preferences])
    cross_validated_margins = np.zeros(len(preferences))
    for fold in np.unique(folds):
        cross_validated_margins[folds == fold] = _margins(rows, folds != fold, folds == fold)[1]
    at = np.flatnonzero(held_out)
    return RewardReport(
        records=len(preferences),
        bad_lines=data.bad.count,
        first_bad_line=f"{data.bad.first[0].number}: {data.bad.first[0].reason}" if data.bad.first else None,
        training_pairs=int((~held_out).sum()),
        ties=int((~decisive).sum()),
        embedding_hash=embedder.hash,
        prior_scale=prior[0],
        guard_share=prior[1],
        held_out=_validated([preferences[i] for i in at[decisive[at]]], margins[decisive[at]]),
        cross_validated=_validated([preferences[i] for i in np.flatnonzero(decisive)], cross_validated_margins[decisive]),
    )


def _embedded(preferences: Sequence[Preference], embedder: Embedder, progress: Progress) -> np.ndarray:
    """Features of each comparison's chosen reply (a tie's A) minus the other's, ``(n, d)``."""
    found = [np.empty((0, embedder.dimension), np.float32)]
    for start in range(0, len(preferences), EMBED_BATCH):
        some = preferences[start : start + EMBED_BATCH]
        both = embedder.features([(c.prompt, text) for c in some for text in ((c.b, c.a) if c.choice == "B" else (c.a, c.b))])
        found.append(both[::2] - both[1::2])
        progress("embed", start + len(some), len(preferences))
    return np.concatenate(found)


@dataclass(frozen=True)
class _Rows:
    """Comparisons as input of the posterior, chosen minus rejected; the last ``guards`` features are not embedding."""

    answers: Answers
    guards: int
    position_scale: float
    prompts: np.ndarray
    cut: float

    @classmethod
    def of(cls, preferences: Sequence[Preference], differences: np.ndarray, guards: int, settings: HeadSettings) -> "_Rows":
        shown = [{"A": 1, "B": -1, None: 0}[c.shown_first] * (-1 if c.choice == "B" else 1) for c in preferences]
        levels = np.array([ordinal.levels("tie" if c.choice == "tie" else "A", c.strength) for c in preferences], int).reshape(-1, 2)
        low, high = ordinal.interval(levels[:, 0], levels[:, 1], settings.cut_points)
        n = len(preferences)
        answers = Answers(np.column_stack([differences, np.array(shown, np.float32)]), low, high, np.zeros(n), np.ones(n))
        return cls(answers, guards, settings.position_scale, np.array([c.conversation_id for c in preferences]), settings.cut_points[0])

    def only(self, which: np.ndarray) -> Answers:
        a = self.answers
        return Answers(a.differences[which], a.low[which], a.high[which], a.offset[which], a.weight[which])

    def precision(self, scale: float, guard_share: float, typical: np.ndarray) -> np.ndarray:
        """The prior's precision, for pairs whose embedding and guard differences have the lengths ``typical``."""
        deviations = np.full(self.answers.differences.shape[1], scale / typical[0])
        deviations[-1 - self.guards : -1] = scale * guard_share / typical[1]
        deviations[-1] = self.position_scale
        return np.asarray(deviations**-2)

    def typical(self, which: np.ndarray) -> np.ndarray:
        """The root mean squared lengths of the embeddings' and of the guards' differences."""
        squares = self.answers.differences[which, :-1].astype(float) ** 2
        parts = np.split(squares, [squares.shape[1] - self.guards], axis=1)
        return np.sqrt([max(float(part.sum(axis=1).mean()), 1e-12) for part in parts])


def _margins(rows: _Rows, training: np.ndarray, wanted: np.ndarray) -> tuple[tuple[float, float], np.ndarray]:
    """The prior chosen on the training part, and the log-odds of the chosen side of the ``wanted`` rows under the head trained on it."""
    typical = rows.typical(training)
    part = np.array([hashlib.sha256(f"inner {prompt}".encode()).digest()[0] % 3 for prompt in rows.prompts])
    loss = dict.fromkeys(product(SCALES, GUARD_SHARES), 0.0)
    for inner in range(3):
        rest, against = rows.only(training & (part != inner)), rows.only(training & (part == inner))
        weights = None
        for prior in loss:
            weights = most_probable(rest, rows.precision(*prior, typical), weights, tolerance=1e-4)
            loss[prior] -= float(ordinal.log_likelihood(latents(against.differences, weights), against.low, against.high).sum())
    best = min(loss, key=loss.__getitem__)
    answers, precision = rows.only(training), rows.precision(*best, typical)
    weights = most_probable(answers, precision)
    covariance = posterior_at(weights, answers, precision).covariance
    differences = rows.answers.differences[wanted].astype(float)
    differences[:, -1] = 0  # ignore which reply was shown first
    variance = np.einsum("ij,ij->i", differences @ covariance, differences)
    return best, _decisive_log_odds(differences @ weights, variance, rows.cut)


def _decisive_log_odds(mean: np.ndarray, variance: np.ndarray, cut: float) -> np.ndarray:
    """log P(first) - log P(second), each as the online head predicts it; 0 at a mean of 0 and odd in it."""
    kappa = 1 / np.sqrt(1 + np.pi * variance / 8)
    return np.asarray(np.logaddexp(0, kappa * (mean + cut)) - np.logaddexp(0, kappa * (cut - mean)))


def _validated(preferences: Sequence[Preference], margins: np.ndarray) -> Validated:
    prompts = np.array([c.conversation_id for c in preferences])
    longer = np.array([float(len(c.a) - len(c.b)) * (1 if c.choice == "A" else -1) for c in preferences])
    return Validated(
        pairs=len(preferences),
        prompts=len(set(prompts)),
        accuracy=measures.with_interval(measures.accuracy, margins, prompts),
        auc=measures.with_interval(measures.auc, margins, prompts),
        log_loss=measures.log_loss(margins),
        calibration_error=measures.calibration_error(margins),
        calibration_error_if_calibrated=measures.calibration_error_if_calibrated(margins),
        longer=measures.with_interval(measures.accuracy, longer, prompts),
    )
