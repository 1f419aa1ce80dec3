"""Does one pass over the judgments end where a fit to all of them ends? On real preferences, in five orders.

``online_batch_gap`` is the mean absolute difference of the probability that A is preferred, on the prompts of one fold in five, between the
online head and its own reconciliation, which is a fit to all judgments with the same prior. ``batch_minus_sklearn`` compares that fit's
log loss with that of scikit-learn's logistic regression under the same prior.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.figures import Figure
from benchmarks.reward.data import HARMLESS, HELPFUL, embedded, embedder
from storage.strata import fold_of
from trainers.data.preference import Entry, Preference
from trainers.reward.measures import log_loss
from trainers.reward.online.head import Head, Taste, predict
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings
from trainers.reward.prior_choice import chosen_prior
from trainers.reward.reward import log_odds

ORDERS = 5
NEVER = 10**9  # no reconciliation on the way


def figures(quick: bool) -> Sequence[Figure]:
    """One pass against a fit to everything, and that fit against scikit-learn."""
    gaps: list[float] = []
    losses: list[tuple[float, float]] = []
    for name in (HELPFUL,) if quick else (HELPFUL, HARMLESS):
        known, unseen = ([each for each in embedded(name) if (fold_of(each.conversation_id, 5) == 0) is held] for held in (False, True))
        settings = chosen_prior(known, HeadSettings(objectives=())).model_copy(update={"rounds": 0, "reconcile_every": NEVER})
        differences = np.stack([a - b for each in unseen if each.features for _, a, b in (each.features,)]).astype(float)
        batch = reconcile(_learnt(known, settings))
        for seed in range(1 if quick else ORDERS):
            order = np.random.default_rng(seed).permutation(len(known))
            online = _learnt([known[i] for i in order], settings)
            gaps.append(float(np.abs(predict(online, differences).a - predict(batch, differences).a).mean()))
        side = np.array([1.0 if each.choice == "A" else -1.0 for each in unseen])
        losses.append((log_loss(side * log_odds(predict(batch, differences))), _sklearn_loss(known, differences, side, settings)))
    ours, theirs = (float(np.mean(values)) for values in zip(*losses, strict=True))
    return [
        Figure("online_batch_gap", float(np.mean(gaps)), min(gaps), max(gaps), "probability; least and greatest order", "<=0.005"),
        Figure("batch_minus_sklearn", ours - theirs, None, None, f"nats; log loss {ours:.4f} and {theirs:.4f}", "<=0.01"),
    ]


def _learnt(preferences: Sequence[Preference], settings: HeadSettings) -> Head:
    head = new_head(settings, embedder().hash, embedder().dimension, ("import",))
    return learn_all(head, [Entry(n, each) for n, each in enumerate(preferences, start=1)])


def _sklearn_loss(known: Sequence[Preference], unseen: np.ndarray, side: np.ndarray, settings: HeadSettings) -> float:
    deviations = np.sqrt(np.diag(Taste.prior(settings, unseen.shape[1]).covariance))[:-1]
    differences = np.stack([a - b for each in known if each.features for _, a, b in (each.features,)]) * deviations
    model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1_000)
    model.fit(differences, [each.choice == "A" for each in known])
    return log_loss(side * model.decision_function(unseen * deviations))
