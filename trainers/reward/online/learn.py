"""Online learning of the reward head: ``learn(head, entry) -> head``.

A pure function of settings and preferences 1 … n, so that a replay gives the same weights. Between reconciliations each judgment is one
Laplace step on the posterior's projection onto its difference. At fixed sequence numbers, farther and farther apart, the whole posterior is
rebuilt from the judgments so far, and a fixed number of judgments later it replaces the old one, with those judgments learnt on top of it.
So a reconciliation can be computed in the background while learning goes on (``streams.stations.background_refit``).
"""

import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import dsymv, dsyr

from storage.errors import EventError
from trainers.data.preference import DecisiveChoice, Entry, Preference
from trainers.reward.online import ordinal
from trainers.reward.online.checkpoint import load, save
from trainers.reward.online.head import Head, Prediction, Taste, head_id, new_head, predict
from trainers.reward.online.history import STORED, UNANSWERED, row_type
from trainers.reward.online.reconciliation import reconcile, single_threaded_blas
from trainers.reward.online.recruiters import Recruiter
from trainers.reward.online.settings import OVERALL, HeadSettings

__all__ = [
    "Head",
    "Prediction",
    "Reconcile",
    "admissible",
    "head_id",
    "held_at",
    "learn",
    "learn_all",
    "load",
    "new_head",
    "predict",
    "reconcile",
    "save",
]

Reconcile = Callable[[Head], Head]
UNKNOWN = "unknown"  # recruiter of records that name none
PAIR_MODULUS = 2**61 - 1  # prime, so that all bits of an id matter, since products may assign pair ids themselves
_reconcile_at_once = partial(reconcile, threads=os.cpu_count() or 1)  # nothing else is learnt meanwhile


def learn(head: Head, entry: Entry) -> Head:
    """The head after one more entry; ``head`` is not modified. See :func:`learn_all`."""
    return learn_all(head, (entry,))


def learn_all(head: Head, entries: Iterable[Entry], reconciled: Reconcile = _reconcile_at_once, *, in_place: bool = False) -> Head:
    """The head after more entries, bit for bit the same as learning them one by one.

    Entries already learnt are skipped. An entry that is not :func:`admissible` only advances ``sequence``.

    Parameters
    ----------
    reconciled : may return a precomputed result of :func:`reconcile`
    in_place : reuse the arrays of ``head``, which must not be used afterwards; copying them takes longer than learning one judgment

    Raises
    ------
    EventError
        A sequence number is missing before one of the entries, or its features are not finite or have another length than the head's.
        Nothing is learnt then.
    """
    fresh = _checked(head, entries)
    with single_threaded_blas():
        head = _writable(head, _touched(fresh, head), in_place=in_place)
        for step in _steps(fresh, head.settings):
            head = _next(head, step, reconciled)
    return head


def _checked(head: Head, entries: Iterable[Entry]) -> list[Entry]:
    """The entries that are not learnt yet."""
    fresh, expected = [], head.sequence + 1
    for entry in entries:
        if entry.sequence < expected:
            continue
        if entry.sequence > expected:
            raise EventError(f"preference {entry.sequence} came after {expected - 1}: read feedback.preferences from {expected}")
        if entry.preference is not None and admissible(head, entry.preference):
            assert entry.preference.features is not None
            _, a, b = entry.preference.features
            if len(a) != head.dimension or len(b) != head.dimension:
                raise EventError(
                    f"preference {entry.sequence}: features of {len(a)} and {len(b)} components where the head has {head.dimension}"
                )
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                raise EventError(f"preference {entry.sequence}: its features are not finite")
        fresh.append(entry)
        expected += 1
    return fresh


def _writable(head: Head, questions: Collection[str], *, in_place: bool = False) -> Head:
    """The head with arrays of its own for the tastes of these questions, which the steps update."""
    tastes = {
        name: taste.copied() if name in questions and not (in_place and taste.owned) else taste for name, taste in head.tastes.items()
    }
    return replace(head, tastes=tastes)


def _touched(entries: Sequence[Entry], head: Head) -> Collection[str]:
    """The questions whose taste these entries may change."""
    if any(entry.removes is not None for entry in entries):
        return head.settings.questions
    return {name for entry in entries if entry.preference is not None for name in answers_of(entry.preference)}


def answers_of(preference: Preference) -> dict[str, DecisiveChoice]:
    """The preference's answers by question; those to unknown objectives are included."""
    return {name: choice for name, choice in ((OVERALL, preference.choice), *preference.objectives.items()) if choice is not None}


def held_at(head: Head, sequence: int) -> Head:
    """The input of a reconciliation at this sequence number: ``head`` with its judgments up to there."""
    return replace(head, history=head.history.through(sequence), sequence=sequence)


def _steps(entries: Iterable[Entry], settings: HeadSettings) -> Iterator[Sequence[Entry]]:
    """The entries one by one, and consecutive removals together, up to where a reconciliation takes effect: each copies the history."""
    removals: list[Entry] = []
    for entry in entries:
        if entry.removes is not None:
            removals.append(entry)
        if removals and (entry.removes is None or _takes_over(settings, entry.sequence)):
            yield removals
            removals = []
        if entry.removes is None:
            yield (entry,)
    if removals:
        yield removals


def _takes_over(settings: HeadSettings, sequence: int) -> bool:
    """Whether a reconciliation takes effect at this sequence number."""
    through = sequence - settings.taken_over_after
    return through > 0 and settings.reconciled_through(through) == through


def _next(head: Head, step: Sequence[Entry], reconciled: Reconcile) -> Head:
    entry = step[-1]
    if entry.removes is not None:
        head = _remove(head, step)
    elif entry.preference is not None and admissible(head, entry.preference):
        head = _add(head, entry.sequence, entry.preference)
    else:
        head = replace(head, sequence=entry.sequence)
    if not _takes_over(head.settings, head.sequence):
        return head
    return _with_later_judgments(reconciled(held_at(head, head.sequence - head.settings.taken_over_after)), head)


def _with_later_judgments(base: Head, head: Head) -> Head:
    """The reconciled ``base`` with the later judgments of ``head`` learnt on top of it."""
    base = _writable(base, head.settings.questions)
    history = base.history
    for row, difference in head.history.after(base.sequence):
        name, again = head.history.names[row["recruiter"]], row.copy()
        for at, question in enumerate(head.settings.questions):
            if row["lower"][at] != UNANSWERED:
                taste, recruiter = base.tastes[question], base.recruiter(name, question)
                low, high = ordinal.one_interval(int(row["lower"][at]), int(row["upper"][at]), taste.cut_points)
                projection = _project(taste.covariance, difference, int(row["position"]))
                again["site_precision"][at], again["site_linear"][at] = _laplace_step(taste, projection, low, high, recruiter)
        history = history.append(again, difference, name)
    return replace(base, history=history, sequence=head.sequence, judgments_seen=head.judgments_seen)


def admissible(head: Head, preference: Preference) -> bool:
    """Whether the head learns from the preference: of the training stratum, of one of its sources, with features of its embedding."""
    return (
        preference.stratum == "training"
        and preference.source in head.sources
        and preference.features is not None
        and preference.features.embedding_hash == head.embedding_hash
    )


def _add(head: Head, sequence: int, preference: Preference) -> Head:
    assert preference.features is not None
    _, a, b = preference.features
    mirrored = preference.shown_first == "B"
    difference = ((b - a) if mirrored else (a - b)).astype(STORED)
    given, questions = answers_of(preference), head.settings.questions
    counts = preference.counts and OVERALL in given
    row = np.zeros((), row_type(len(questions)))
    row["lower"], row["hit"], row["loss"] = UNANSWERED, np.nan, np.nan
    row["sequence"], row["position"], row["counts"] = sequence, preference.shown_first is not None, counts
    row["mirrored"] = mirrored
    row["pair"] = preference.pair_id.int % PAIR_MODULUS if preference.pair_id is not None else 0
    row["occurred_at"] = preference.occurred_at.timestamp() if preference.occurred_at is not None else 0.0
    name = preference.recruiter or UNKNOWN
    for at, question in enumerate(questions):
        if question in given:
            taste = head.tastes[question]
            lower, upper = ordinal.levels(given[question], preference.strength if question == OVERALL else None)
            if mirrored:
                lower, upper = ordinal.mirrored(lower, upper)
            low, high = ordinal.one_interval(lower, upper, taste.cut_points)
            projection = _project(taste.covariance, difference, int(row["position"]))
            row["hit"][at], row["loss"][at] = _prequential_score(taste, projection, lower)
            row["site_precision"][at], row["site_linear"][at] = _laplace_step(taste, projection, low, high, head.recruiter(name, question))
            row["lower"][at], row["upper"][at] = lower, upper
    return replace(
        head,
        sequence=sequence,
        history=head.history.append(row, difference, name),
        judgments_seen=head.judgments_seen + int(counts and not head.history.counts_pair(int(row["pair"]))),
    )


class _Projection(NamedTuple):
    """A judgment's feature difference padded with 0, ``delta`` with its position instead, and the covariance times each."""

    position: int
    features: np.ndarray
    delta: np.ndarray
    cov_features: np.ndarray
    cov_delta: np.ndarray


def _project(covariance: np.ndarray, difference: np.ndarray, position: int) -> _Projection:
    features = np.append(difference.astype(float), 0.0)
    cov_features = dsymv(1.0, covariance, features, lower=1)
    if not position:
        return _Projection(0, features, features, cov_features, cov_features)
    delta = features.copy()
    delta[-1] = position
    moved = cov_features + position * covariance[-1]  # the covariance's last row lies in its lower triangle
    return _Projection(position, features, delta, cov_features, moved)


def _prequential_score(taste: Taste, projection: _Projection, lower: int) -> tuple[float, float]:
    """Whether the likelier side was chosen, and the log loss given that the answer is not a tie; both NaN for a tie.

    A scalar version of :func:`predict`: array overhead would dominate a step.
    """
    if lower == 0:
        return math.nan, math.nan
    mean, variance = float(projection.features @ taste.mean), float(projection.features @ projection.cov_features)
    kappa, cut = 1 / math.sqrt(1 + math.pi * variance / 8), taste.cut_points[0]
    first, second = _sigmoid(kappa * (mean - cut)), _sigmoid(kappa * (-mean - cut))
    chosen = first if lower > 0 else second
    hit = 0.5 if mean == 0 else float((mean > 0) == (lower > 0))
    return hit, -math.log(max(chosen / (first + second), 1e-12))


def _laplace_step(taste: Taste, projection: _Projection, low: float, high: float, recruiter: Recruiter) -> tuple[float, float]:
    """Update the taste's mean and lower triangle in place by one judgment; return its site's precision and linear term.

    On the projection ``z = scale * (delta @ w + pull)``, normal with mean m and variance v before the judgment, z* maximises
    ``weight * log P(answer | z) - (z - m)^2 / 2v``; then with ``s = scale * covariance @ delta`` and h the weighted curvature at z*,
    ``mean += s (z* - m) / v`` and ``covariance -= s s' h / (1 + h v)``.
    """
    scale, weight = recruiter.scale, recruiter.weight
    delta, s = scale * projection.delta, scale * projection.cov_delta
    v = float(delta @ s)
    if v <= 0:  # two replies with equal features and no known order: nothing to learn
        return 0.0, 0.0
    offset = scale * recruiter.pull * projection.position
    m = float(delta @ taste.mean) + offset
    z = projected_mode(m, v, low, high, weight)
    _, curve = _slope_and_curvature(z, low, high)
    h, slope = weight * curve, (z - m) / v
    taste.mean[:] += s * slope
    updated = dsyr(-h / (1 + h * v), s, lower=1, a=taste.covariance, overwrite_a=1)
    assert updated is taste.covariance or np.shares_memory(updated, taste.covariance)
    return scale**2 * h, scale * (h * (z - offset) + slope)


def projected_mode(m: float, v: float, low: float, high: float, weight: float) -> float:
    """The z that maximises ``weight * log P(low < latent < high | z) - (z - m)^2 / 2v``.

    Newton's method from m, usually three steps. A step that would leave the bracket given by concavity, or is more than half as long as the
    one before, is replaced by a bisection.
    """
    left, right = (m, math.inf) if _slope_and_curvature(m, low, high)[0] >= 0 else (-math.inf, m)
    z, before = m, math.inf
    for _ in range(200):
        slope, curve = _slope_and_curvature(z, low, high)
        gradient = weight * slope - (z - m) / v
        left, right = (z, right) if gradient > 0 else (left, z)
        step = gradient / (weight * curve + 1 / v)
        if abs(step) <= 1e-12 * (1 + abs(z)):
            break
        if not (left <= z + step <= right and abs(step) <= before / 2) and math.isfinite(right - left):
            step = (left + right) / 2 - z
        z, before = z + step, abs(step)
    return z


def _slope_and_curvature(z: float, low: float, high: float) -> tuple[float, float]:
    """Scalar version of ``ordinal``'s: array overhead would dominate a step."""
    below, above = _sigmoid(low - z), _sigmoid(z - high)
    return below - above, below * (1 - below) + above * (1 - above)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else (math.exp(x) / (1 + math.exp(x)) if x > -700 else 0.0)


def _remove(head: Head, removals: Sequence[Entry]) -> Head:
    """Remove the entries' sites and rows; sites learnt after them stay linearised where they were until a reconciliation."""
    sequence = removals[-1].sequence
    asked = dict.fromkeys(entry.removes for entry in removals if entry.removes is not None)
    found = {removes: learnt for removes in asked if (learnt := head.history.find(removes)) is not None}
    if not found:  # none was admissible
        return replace(head, sequence=sequence)
    for row, difference in found.values():
        delta = np.append(difference.astype(float), float(row["position"]))
        for at, question in enumerate(head.settings.questions):
            h, linear = float(row["site_precision"][at]), float(row["site_linear"][at])
            if h > 0:
                taste = head.tastes[question]
                s = dsymv(1.0, taste.covariance, delta, lower=1)
                rest = 1 - h * float(delta @ s)  # above zero: prior and other sites are positive
                taste.mean[:] += s * ((h * float(delta @ taste.mean) - linear) / rest)
                dsyr(h / rest, s, lower=1, a=taste.covariance, overwrite_a=1)
    history = head.history.without(found)
    pairs = {int(row["pair"]) for row, _ in found.values() if row["counts"]}
    seen = head.judgments_seen - sum(not history.counts_pair(pair) for pair in pairs)
    return replace(head, sequence=sequence, history=history, judgments_seen=seen, marked=True)
