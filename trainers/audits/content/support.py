"""Are the challenger's replies like those that recruiters have judged, so that the reward head knows them?

A head's score of a reply that is far from all judged ones is an extrapolation. The limit is absolute and does not compare with the base
model: judged replies come from the champions, and what counts is the distance of the challenger's replies from them.
"""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from storage.events import GateResult
from trainers.audits.audit import Audit, Finding, Limits, Rows, Share, insufficient
from trainers.audits.statistics.intervals import exact_share

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

BATCH = 256  # rows of a distance matrix


class SupportLimits(Limits):
    """``most`` of the replies may be outside, with one-sided ``confidence``, on at least ``min_replies`` that differ between the models."""

    most: Share = 0.15
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_replies: Annotated[int, Field(ge=0)] = 200


class Support(Finding):
    """Replies outside the support of the judged ones; replies that both models gave have no features and do not count.

    Attributes
    ----------
    outside, n : the challenger's replies outside, and those measured
    champion : the share of the champion's
    judged : replies that define the support
    """

    outside: int
    n: int
    champion: float
    judged: int


def measure(trial: "Trial") -> Support:
    vectors, seen = trial.vectors, trial.judged_features
    ours, theirs = outside(vectors.challenger, seen), outside(vectors.champion, seen)
    return Support(outside=int(ours.sum()), n=len(ours), champion=float(theirs.mean()) if len(theirs) else 0.0, judged=len(seen))


def outside(features: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Which replies are farther from every judged reply than 99 % of the judged replies are from their nearest other one, ``(k,)``.

    Parameters
    ----------
    features : of replies, ``(m, d)``; zero rows were not embedded and are left out
    seen : features of the judged replies, ``(n, d)``
    """
    features = features[np.any(features != 0, axis=1)].astype(float)
    seen = np.unique(seen.astype(float), axis=0)
    if len(seen) < 2 or not len(features):
        return np.zeros(len(features), bool)
    limit = np.quantile(_nearest(seen, seen, others=True), 0.99)
    return np.asarray(_nearest(features, seen) > limit)


def _nearest(rows: np.ndarray, seen: np.ndarray, *, others: bool = False) -> np.ndarray:
    """The squared distance of each row from the nearest of ``seen``; with ``others`` rows are ``seen`` itself, and row i is not its own."""
    found = np.empty(len(rows))
    norms = (seen**2).sum(1)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        distances = np.maximum((batch**2).sum(1)[:, None] + norms[None] - 2 * batch @ seen.T, 0)
        if others:
            distances[np.arange(len(batch)), np.arange(start, start + len(batch))] = np.inf
        found[start : start + BATCH] = distances.min(1)
    return found


def gate(found: Support, limits: SupportLimits) -> GateResult:
    """Pass when the share of the challenger's replies outside is shown to be at most ``limits.most``."""
    limit = f"at most {limits.most:.0%}, one-sided {limits.confidence:.0%}"
    if found.n < limits.min_replies or found.judged < 2:
        words = (
            f"Not enough evidence: {found.n} replies that differ from the champion's were measured against {found.judged} judged ones; "
            f"at least {limits.min_replies} are needed."
        )
        return insufficient(AUDIT.name, words, limit, "share", found.n)
    share = exact_share(found.outside, found.n, limits.confidence)
    return GateResult(
        name=AUDIT.name,
        verdict="passed" if share.high <= limits.most else "failed",
        figure=share.figure,
        low=share.low,
        high=share.high,
        n=found.n,
        limit=limit,
        unit="share",
        words=f"{share.figure:.1%} of the new replies are unlike any that was judged; the reward head guesses at these.",
    )


def rows(found: Support) -> Rows:
    return [("Replies unlike any judged so far, champion", f"{found.champion:.1%}")]


AUDIT = Audit("support", "Are its replies like those that were judged?", SupportLimits, Support, measure, gate, rows, topic="preference")
