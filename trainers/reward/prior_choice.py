"""Which prior predicts a set of records best? Chosen by cross-validation over their prompts.

Texts unlike those that the whitening was fitted on differ in how far apart two replies' embeddings are, and in how much the guards tell.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from trainers.data.preference import Preference
from trainers.reward.online import ordinal
from trainers.reward.online.posterior import Answers, latents, most_probable
from trainers.reward.online.settings import GUARD_FEATURES, HeadSettings

SCALES = (0.15, 0.3, 0.6, 1.2)  # standard deviation of the log-odds that the embeddings contribute to a pair of typical size
GUARD_SHARES = (1.0, 0.3, 0.1)  # of the guards together, as a share of it
FOLDS = 3
LEAST = 30  # decisive preferences, with fewer the settings' prior is kept


def chosen_prior(preferences: Sequence[Preference], settings: HeadSettings) -> HeadSettings:
    """The settings with the ``prior_scale`` and ``guard_share`` under which the left-out thirds of the prompts are likeliest.

    Every preference has its features. Exchanging A and B does not change the choice.
    """
    if sum(each.choice != "tie" for each in preferences) < LEAST:
        return settings
    rows = _Rows.of(preferences, settings)
    part = np.array([hashlib.sha256(f"inner {each.conversation_id}".encode()).digest()[0] % FOLDS for each in preferences])
    typical = rows.typical()
    loss = dict.fromkeys(product(SCALES, GUARD_SHARES), 0.0)
    for fold in np.unique(part):
        rest, against = rows.only(part != fold), rows.only(part == fold)
        weights = None
        for scale, share in loss:
            weights = most_probable(rest, rows.precision(scale, share, typical), weights, tolerance=1e-4)
            loss[scale, share] -= float(ordinal.log_likelihood(latents(against.differences, weights), against.low, against.high).sum())
    scale, share = min(loss, key=loss.__getitem__)
    return settings.model_copy(update={"prior_scale": scale / typical[0], "guard_share": share * typical[0] / typical[1]})


@dataclass(frozen=True)
class _Rows:
    """Preferences as input of the posterior, chosen minus rejected, so that exchanging A and B changes no bit."""

    answers: Answers
    position_scale: float

    @classmethod
    def of(cls, preferences: Sequence[Preference], settings: HeadSettings) -> "_Rows":
        n = len(preferences)
        differences = np.stack([_chosen_minus_rejected(each) for each in preferences])
        shown = [{"A": 1, "B": -1, None: 0}[each.shown_first] * (-1 if each.choice == "B" else 1) for each in preferences]
        levels = np.array([ordinal.levels("tie" if each.choice == "tie" else "A", each.strength) for each in preferences], int)
        low, high = ordinal.interval(levels[:, 0], levels[:, 1], settings.cut_points)
        answers = Answers(np.column_stack([differences, np.array(shown, np.float32)]), low, high, np.zeros(n), np.ones(n))
        return cls(answers, settings.position_scale)

    def only(self, which: np.ndarray) -> Answers:
        a = self.answers
        return Answers(a.differences[which], a.low[which], a.high[which], a.offset[which], a.weight[which])

    def precision(self, scale: float, guard_share: float, typical: np.ndarray) -> np.ndarray:
        """The prior's precision, for pairs whose embedding and guard differences have the lengths ``typical``."""
        deviations = np.full(self.answers.differences.shape[1], scale / typical[0])
        deviations[-1 - GUARD_FEATURES : -1] = scale * guard_share / typical[1]
        deviations[-1] = self.position_scale
        return np.asarray(deviations**-2)

    def typical(self) -> np.ndarray:
        """The root mean squared lengths of the embeddings' and of the guards' differences."""
        squares = self.answers.differences[:, :-1].astype(float) ** 2
        parts = np.split(squares, [squares.shape[1] - GUARD_FEATURES], axis=1)
        return np.asarray(np.sqrt([max(float(part.sum(axis=1).mean()), 1e-12) for part in parts]))


def _chosen_minus_rejected(preference: Preference) -> np.ndarray:
    assert preference.features is not None
    _, a, b = preference.features
    return np.asarray((b - a) if preference.choice == "B" else (a - b))
