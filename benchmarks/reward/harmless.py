"""How well is a person's choice of the less harmful reply predicted? Five folds by first message; everything is chosen inside the training
folds.

scikit-learn's LogisticRegressionCV has the same features and the same folds. Intervals are percentile bootstraps over first messages.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GroupKFold

from benchmarks.figures import Figure
from benchmarks.reward.data import HARMLESS, SETTINGS, embedded
from storage.strata import fold_of
from trainers.data.preference import Preference
from trainers.reward import measures
from trainers.reward.head_reward import HeadFitter
from trainers.reward.validation import cross_validated_margins

FOLDS, INNER, DRAWS = 5, 3, 1_000


def head_margins(preferences: Sequence[Preference]) -> tuple[list[Preference], np.ndarray]:
    """Each preference's margin under a head that was trained on the other folds."""
    fitter = HeadFitter(SETTINGS)
    return cross_validated_margins(preferences, FOLDS, lambda some: fitter.fit(some, Path()))


def figures(quick: bool) -> Sequence[Figure]:
    """Accuracy, the difference to scikit-learn, calibration."""
    preferences = embedded(HARMLESS)[:300] if quick else embedded(HARMLESS)
    decisive, margins = head_margins(preferences)
    theirs = _sklearn_margins(decisive)
    prompts = np.array([each.conversation_id for each in decisive])
    accuracy = measures.with_interval(measures.accuracy, margins, prompts)
    auc = measures.with_interval(measures.auc, margins, prompts)
    low, high = difference(measures.accuracy, margins, theirs, prompts)
    slope, below, above = calibration_slope(margins, prompts)
    error = measures.calibration_error(margins) - measures.calibration_error_if_calibrated(margins)
    return [
        Figure("harmless_accuracy", accuracy.value, accuracy.low, accuracy.high, f"of {len(margins)}", ">=0.62"),
        Figure("harmless_auc", auc.value, auc.low, auc.high, "1"),
        Figure("harmless_log_loss", measures.log_loss(margins), None, None, f"nats; scikit-learn {measures.log_loss(theirs):.4f}"),
        Figure("harmless_sklearn_accuracy", measures.accuracy(theirs), None, None, "1"),
        Figure("harmless_minus_sklearn_low", low, low, high, "95% interval of the difference", ">=-0.01"),
        Figure("calibration_slope", slope, below, above, "1"),
        Figure("calibration_slope_covers_one", float(below <= 1 <= above), None, None, "1", "==1"),
        Figure("calibration_slope_width", above - below, None, None, "1", "<=0.8"),
        Figure("calibration_excess", error, None, None, "calibration error above that of a calibrated model", "<=0.02"),
    ]


def difference(
    measure: Callable[[np.ndarray], float], ours: np.ndarray, theirs: np.ndarray, prompts: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """The 95% interval of ``measure(ours) - measure(theirs)``, paired, from a bootstrap over prompts."""
    rng = np.random.default_rng(seed)
    _, index = np.unique(prompts, return_inverse=True)
    members = [np.flatnonzero(index == k) for k in range(index.max() + 1)]
    found = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        found.append(measure(ours[rows]) - measure(theirs[rows]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def calibration_slope(margins: np.ndarray, prompts: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """The factor on the log-odds that makes the answers likeliest, with its 95% interval from a bootstrap over prompts."""
    rng = np.random.default_rng(seed)
    _, index = np.unique(prompts, return_inverse=True)
    members = [np.flatnonzero(index == k) for k in range(index.max() + 1)]

    def fitted(rows: np.ndarray) -> float:
        both = np.concatenate([margins[rows], -margins[rows]])[:, None]  # a slope without intercept
        right = np.repeat([True, False], len(rows))
        return float(LogisticRegression(C=1e6, fit_intercept=False).fit(both, right).coef_[0, 0])

    draws = [fitted(np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])) for _ in range(DRAWS // 2)]
    low, high = np.quantile(draws, (0.025, 0.975))
    return fitted(np.arange(len(margins))), float(low), float(high)


def _sklearn_margins(preferences: Sequence[Preference]) -> np.ndarray:
    differences = np.stack([a - b for each in preferences if each.features for _, a, b in (each.features,)]).astype(float)
    chosen_a = np.array([each.choice == "A" for each in preferences])
    prompts = np.array([each.conversation_id for each in preferences])
    fold = np.array([fold_of(each.conversation_id, FOLDS) for each in preferences])
    margins = np.zeros(len(preferences))
    for one in np.unique(fold):
        known = fold != one
        inner = list(GroupKFold(INNER).split(differences[known], chosen_a[known], prompts[known]))
        model = LogisticRegressionCV(Cs=10, cv=inner, scoring="neg_log_loss", fit_intercept=False, max_iter=2_000)
        model.fit(differences[known], chosen_a[known])
        margins[~known] = np.where(chosen_a[~known], 1, -1) * model.decision_function(differences[~known])
    return margins
