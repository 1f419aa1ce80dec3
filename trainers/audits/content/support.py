"""Are the challenger's replies as close to those that recruiters have judged as the champion's are?

A head's score of a reply that is far from all judged ones is an extrapolation. Judged replies are a sample of what champions answer, so
some replies of any model are unlike all of them; what counts is how many more the challenger has. The champion and not the base model is
the measure here, because the judged replies are the champion's.
"""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from storage.events import GateResult
from trainers.audits.audit import Audit, Finding, Limits, Share, insufficient, result
from trainers.audits.statistics.intervals import paired_shares

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

BATCH = 256  # rows of a distance matrix


class SupportLimits(Limits):
    """``margin`` above the champion's share outside, with one-sided ``confidence``, on at least ``min_replies`` that differ."""

    margin: Share = 0.10
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_replies: Annotated[int, Field(ge=0)] = 200


class Support(Finding):
    """Replies outside the support of the judged ones; replies that both models gave have no features and do not count.

    Attributes
    ----------
    challenger, champion : the shares of their replies outside
    more, fewer : prompts with the challenger's reply outside only, and with the champion's only
    n : prompts measured
    judged : replies that define the support
    """

    challenger: float
    champion: float
    more: int
    fewer: int
    n: int
    judged: int


def measure(trial: "Trial") -> Support:
    vectors, seen = trial.vectors, trial.judged_features
    prompts = np.concatenate([trial.judged.prompt, trial.judged.prompt])
    embedded = np.any(vectors.challenger != 0, axis=1) & np.any(vectors.champion != 0, axis=1)
    ours, theirs = (outside(each[embedded], seen, prompts) for each in (vectors.challenger, vectors.champion))
    return Support(
        challenger=float(ours.mean()) if len(ours) else 0.0,
        champion=float(theirs.mean()) if len(theirs) else 0.0,
        more=int((ours & ~theirs).sum()),
        fewer=int((theirs & ~ours).sum()),
        n=len(ours),
        judged=len(seen),
    )


def outside(features: np.ndarray, seen: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """Which replies are farther from every judged reply than 99% of those are from the nearest one to another prompt, ``(k,)``.

    Parameters
    ----------
    features : of replies, ``(k, d)``
    seen, prompts : features of the judged replies, ``(n, d)``, and which prompt each answers, ``(n,)``. The other reply of a pair shares
        its prompt and is close for that reason
    """
    if not len(features) or len(set(prompts)) < 2:
        return np.zeros(len(features), bool)
    limit = np.quantile(_nearest(seen, seen, prompts), 0.99)
    return np.asarray(_nearest(features, seen) > limit)


def _nearest(rows: np.ndarray, seen: np.ndarray, prompts: np.ndarray | None = None) -> np.ndarray:
    """The squared distance of each row from the nearest of ``seen``; with ``prompts`` rows are ``seen``, and other prompts count only."""
    rows, seen = rows.astype(float), seen.astype(float)
    found = np.empty(len(rows))
    norms = (seen**2).sum(1)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        distances = np.maximum((batch**2).sum(1)[:, None] + norms[None] - 2 * batch @ seen.T, 0)
        if prompts is not None:
            distances[prompts[start : start + len(batch), None] == prompts[None]] = np.inf
        found[start : start + BATCH] = distances.min(1)
    return found


def gate(found: Support, limits: SupportLimits) -> GateResult:
    """Pass when the challenger's share outside is shown to be at most ``limits.margin`` above the champion's."""
    limit = f"at most {limits.margin * 100:g} points above the champion's, one-sided {limits.confidence:.0%}"
    if found.n < limits.min_replies or found.judged < 2:
        words = (
            f"Not enough evidence: {found.n} replies that differ from the champion's were measured against {found.judged} judged ones; "
            f"at least {limits.min_replies} are needed."
        )
        return insufficient(AUDIT.name, words, limit, "share", found.n)
    excess = paired_shares(found.more, found.fewer, found.n, limits.confidence)
    return result(
        AUDIT.name,
        "passed" if excess.high <= limits.margin else "failed",
        excess,
        limit=limit,
        unit="share",
        n=found.n,
        words=(
            f"{found.challenger:.1%} of the new replies are unlike any that was judged, against {found.champion:.1%} of the champion's; "
            f"the reward head guesses at these."
        ),
    )


AUDIT = Audit("support", "Are its replies like those that were judged?", SupportLimits, Support, measure, gate, topic="preference")
