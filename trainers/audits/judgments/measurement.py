"""Tests the interaction of every attribute of a reply with the candidate's group in recruiters' preferences."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from trainers.audits.audit import Finding
from trainers.audits.judgments.attributes import ATTRIBUTES, read
from trainers.audits.judgments.candidate_groups import Groups, candidate_groups
from trainers.audits.statistics.intervals import Interval
from trainers.audits.statistics.multiplicity import holm

if TYPE_CHECKING:
    from trainers.data.preference import Preference

POWER = 0.8
FAMILY_ALPHA = 0.02  # of all interactions together, by Holm; every run asks again, so a false alarm costs more than once
CONFIDENCE = 0.90  # of the intervals: two one-sided tests at 5% (Schuirmann, 1987)
RARELY = 0.2  # attributes that differ in a smaller share of a group's pairs are not tested
SMALL_GROUP = 0.02  # smaller groups are named and not tested, as Local Law 144's rules allow


class Interaction(Finding):
    """How much more recruiters value an attribute in replies to candidates of ``group`` than to those of ``reference``, in logits.

    Attributes
    ----------
    interval : 90% interval over recruiters, for one reply with the attribute and one without; ``length`` counts in typical differences
    p, p_holm : two-sided p-value, and adjusted for all interactions tested
    detectable : the interaction that would be significant with a chance of 80%
    differing : pairs of the smaller group whose replies differ in the attribute
    """

    characteristic: str
    group: str
    reference: str
    attribute: str
    interval: Interval
    p: float
    p_holm: float
    detectable: float
    differing: int


class Judgments(Finding):
    """All interactions tested.

    Attributes
    ----------
    judgments, recruiters : of which the candidate's group is known
    unknown : judgments of candidates without a known group
    groups : judgments by characteristic and group
    small : groups of less than 2% of the judgments, which were not tested
    untested : attributes that rarely differ between the replies of a pair, by characteristic
    """

    interactions: tuple[Interaction, ...]
    judgments: int
    recruiters: int
    unknown: int
    groups: dict[str, dict[str, int]]
    small: tuple[str, ...] = ()
    untested: dict[str, tuple[str, ...]] = Field(default_factory=dict)


def audit_judgments(
    preferences: Iterable["Preference"], recorded: Mapping[str, Groups], by_name: Mapping[str, Groups] | None = None
) -> Judgments:
    """Test every attribute × group interaction; ``recorded`` groups are by conversation, those ``by_name`` by first name.

    Judgments of models (source ``ai``) and those that name no recruiter are left out. Where the company records groups, names are not used:
    the two may label groups differently.
    """
    rows = [each for each in preferences if each.source != "ai" and each.recruiter is not None]
    groups = candidate_groups(((each.conversation_id, each.prompt) for each in rows), recorded, by_name or {})
    known = [each for each in rows if each.conversation_id in groups]
    counts = _counts(groups[each.conversation_id] for each in known)
    found: list[Interaction] = []
    small: list[str] = []
    untested: dict[str, tuple[str, ...]] = {}
    differences = _differences(known)
    for characteristic, sizes in counts.items():
        tested = list(tested_groups(sizes))
        small += [f"{group} (n = {n})" for group, n in sizes.items() if group not in tested]
        if len(tested) >= 2:
            label = np.array([groups[each.conversation_id].get(characteristic, "") for each in known])
            kept = np.isin(label, tested)
            some, rare = _interactions(
                characteristic, tested, label[kept], differences[kept], [p for p, k in zip(known, kept, strict=True) if k]
            )
            found += some
            untested[characteristic] = rare
    adjusted = holm([each.p for each in found])
    return Judgments(
        interactions=tuple(
            each.model_copy(update={"p_holm": p, "detectable": _detectable(each, len(found))})
            for each, p in zip(found, adjusted, strict=True)
        ),
        judgments=len(known),
        recruiters=len({each.recruiter for each in known}),
        unknown=len(rows) - len(known),
        groups=counts,
        small=tuple(small),
        untested=untested,
    )


def _counts(groups: Iterable[Groups]) -> dict[str, dict[str, int]]:
    """Judgments by characteristic and group, the largest group first."""
    counts: dict[str, dict[str, int]] = {}
    for each in groups:
        for characteristic, group in each.items():
            of = counts.setdefault(characteristic, {})
            of[group] = of.get(group, 0) + 1
    return {name: dict(sorted(of.items(), key=lambda item: (-item[1], item[0]))) for name, of in sorted(counts.items())}


def _differences(rows: Sequence["Preference"]) -> np.ndarray:
    """Attributes of A minus those of B, ``(n, attributes)``; ``length`` in units of its typical (root mean square) difference."""
    texts = {text: list(read(text).values()) for each in rows for text in (each.a, each.b)}
    sides = np.array([[texts[each.a], texts[each.b]] for each in rows], float).reshape(-1, 2, len(ATTRIBUTES))
    found = np.asarray(sides[:, 0] - sides[:, 1])
    length = list(ATTRIBUTES).index("length")
    typical = float(np.sqrt((found[:, length] ** 2).mean())) if len(rows) else 0.0
    found[:, length] /= typical or 1.0
    return found


def _interactions(
    characteristic: str, groups: Sequence[str], label: np.ndarray, differences: np.ndarray, rows: Sequence["Preference"]
) -> tuple[list[Interaction], tuple[str, ...]]:
    """The interactions of one characteristic, of which the largest group is the reference, and the attributes that rarely differ."""
    from scipy.stats import t

    from trainers.audits.statistics.interaction import jackknifed_logit

    names = list(ATTRIBUTES)
    differs = np.stack([(differences[label == group] != 0).sum(axis=0) for group in groups])  # (groups, attributes)
    sizes = np.array([(label == group).sum() for group in groups])
    tested = [j for j in range(len(names)) if (differs[:, j] >= RARELY * sizes).all()]
    rare = tuple(name for j, name in enumerate(names) if j not in tested)
    varying = [j for j in range(len(names)) if differs[:, j].any()]
    members = [(label == group).astype(float) for group in groups[1:]]
    columns = np.column_stack([differences[:, varying], *(differences[:, tested] * member[:, None] for member in members)])
    estimates = jackknifed_logit(
        columns,
        np.array([{"A": 1.0, "B": -1.0, None: 0.0}[each.shown_first] for each in rows]),
        np.array([{"A": 1.0, "B": 0.0, "tie": 0.5}[each.overall] for each in rows]),
        np.array([each.recruiter for each in rows]),
    )
    found: list[Interaction] = []
    for k, group in enumerate(groups[1:]):
        for i, j in enumerate(tested):
            at = len(varying) + k * len(tested) + i
            figure, error, freedom = float(estimates.figures[at]), float(estimates.errors[at]), estimates.freedom
            half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error if freedom else np.inf
            found.append(
                Interaction(
                    characteristic=characteristic,
                    group=group,
                    reference=groups[0],
                    attribute=names[j],
                    interval=Interval(figure=figure, low=figure - half, high=figure + half, n=freedom + 1),
                    p=float(2 * t.sf(abs(figure) / error, freedom)) if freedom and error > 0 else 1.0,
                    p_holm=1.0,
                    detectable=np.inf,
                    differing=int(min(differs[0, j], differs[k + 1, j])),
                )
            )
    return found, rare


def _detectable(found: Interaction, tests: int) -> float:
    """The size found with a chance of 80% at Holm's first step: (t at 1 - α / 2m, plus t at .8) standard errors."""
    from scipy.stats import t

    freedom = found.interval.n - 1
    if freedom < 1:
        return float("inf")
    error = (found.interval.high - found.interval.figure) / float(t.ppf((1 + CONFIDENCE) / 2, freedom))
    return float(t.ppf(1 - FAMILY_ALPHA / (2 * tests), freedom) + t.ppf(POWER, freedom)) * error


def tested_groups(sizes: Mapping[str, int]) -> dict[str, int]:
    """Judgments of the groups that are large enough to be tested."""
    return {group: n for group, n in sizes.items() if n >= SMALL_GROUP * sum(sizes.values())}
