"""The contrasts between groups of candidates that a version's report holds, in one form for judgments, reward and replies."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dashboard.status.reports import findings_of, limits_of
from trainers.audits.judgments.measurement import Judgments
from trainers.audits.policy.counterfactual import Counterfactuals
from trainers.audits.reward.name_contrast import Contrasts
from trainers.audits.statistics.intervals import Interval
from trainers.runs.report import Report

LENGTHS = ("length", "spread")  # outcomes in log characters, not in shares of replies


@dataclass(frozen=True)
class Contrast:
    """One outcome for ``group`` against ``reference``; ``detectable`` is the difference that would have been found, None if not known."""

    group: str
    reference: str
    outcome: str
    interval: Interval
    detectable: float | None

    @property
    def reach(self) -> float:
        """The largest difference that the interval does not exclude."""
        reach = max(abs(self.interval.low), abs(self.interval.high))
        return reach if math.isfinite(reach) else math.inf


@dataclass(frozen=True)
class Family:
    """The contrasts of one kind in one report.

    Attributes
    ----------
    key, name : of the family, the same in every report
    unit : of all of them
    within : the limit of each interval, ±; None where the settings cannot be read
    power : the probability with which a difference of ``detectable`` is found
    """

    key: str
    name: str
    unit: str
    within: float | None
    power: float
    contrasts: tuple[Contrast, ...]

    @property
    def widest(self) -> Contrast:
        """The contrast whose interval reaches furthest from zero, on which the gate decides."""
        return max(self.contrasts, key=lambda each: each.reach)

    def excludes(self, contrast: Contrast) -> bool:
        """Whether the contrast's interval lies within the limit."""
        return self.within is not None and contrast.reach < self.within


AXES = {
    "name": "Replies by name",
    "pronoun": "Replies by pronoun, beyond the base model's",
    "age": "Replies by age cue, beyond the base model's",
    "school": "Replies by school, beyond the base model's",
    "disability": "Replies by disability, beyond the base model's",
}


def families(report: Report) -> tuple[Family, ...]:
    """The families of a report that have any contrast; those in another program's form are left out."""
    return tuple(family for family in _families(report) if family.contrasts)


def _families(report: Report) -> Iterator[Family]:
    def family(key: str, name: str, gate: str, unit: str, power: float, contrasts: Sequence[Contrast], limit: str = "within") -> Family:
        within = getattr(limits_of(report, gate), limit, None)
        return Family(key, name, unit, within, power, tuple(contrasts))

    measured = findings_of(report)
    judgments = measured.get("judgments")
    if isinstance(judgments, Judgments):
        found = [Contrast(each.group, each.reference, each.attribute, each.interval, each.detectable) for each in judgments.interactions]
        yield family("judgments", "Recruiters' judgments", "judgments", "logits", 0.8, found)
    reward = measured.get("name_contrast")
    if isinstance(reward, Contrasts):
        named = [
            Contrast(f"{each.group} names", f"{each.reference} names", each.attribute, each.interval, each.detectable)
            for each in reward.contrasts
        ]
        yield family("reward", "Reward by name", "name_contrast", "sd", 0.8, named)
    replies = measured.get("counterfactual")
    if isinstance(replies, Counterfactuals):
        for axis in dict.fromkeys(each.axis for each in replies.comparisons):
            of_axis = [each for each in replies.comparisons if each.axis == axis]
            name = AXES.get(axis, f"Replies by {axis}")
            for lengths in (False, True):
                compared = [
                    Contrast(each.group, each.reference, each.outcome, each.judged, each.detectable)
                    for each in of_axis
                    if (each.outcome in LENGTHS) == lengths
                ]
                key = f"{axis}-length" if lengths else axis
                limit = ("length_" if lengths else "") + ("within" if axis == "name" else "change_within")
                unit = "log characters" if lengths else "share"
                yield family(key, name + (", length" if lengths else ""), "counterfactual", unit, 0.95, compared, limit)
