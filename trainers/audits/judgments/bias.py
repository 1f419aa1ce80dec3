"""Do recruiters' preferences for an attribute of a reply depend on the candidate's group? Asked of the judgments, before training.

A bias of recruiters is visible here first: one that reverses a taste is several logits in the judgments, and about a tenth of a logit in
a linear reward head trained on them. For each characteristic (sex, race/ethnicity) the choice between two replies is regressed on the
differences of their attributes and on those differences times the candidate's group; a coefficient of the second kind is an
interaction. Nothing is trained on the result, so the judgments of both strata are used.

What it can see is stated with it: ``detectable`` is the interaction that would be found with a chance of 80%. 480 + 160 judgments of 12
recruiters, two of whom click at random, show about 1 logit (``benchmarks.gates`` measures it). It cannot see a bias in what no reader
reads (:mod:`trainers.audits.judgments.attributes`), in attributes that hardly differ between the two replies of a pair, or of a few
recruiters only.
"""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from storage.events import GateResult, Verdict
from trainers.audits.audit import Audit, Count, Limits, Rows, Share, insufficient, result
from trainers.audits.judgments.candidate_groups import groups_of_names
from trainers.audits.judgments.measurement import FAMILY_ALPHA, Interaction, Judgments, audit_judgments, tested_groups

if TYPE_CHECKING:
    from trainers.audits.trial import Trial


class JudgmentLimits(Limits):
    """``within`` in logits for two replies of which one has the attribute; ``min_judgments`` in each group.

    With ``min_judgments = 0`` judgments without any known group pass unexamined.
    """

    within: Annotated[float, Field(gt=0)] = 1.25
    alpha: Annotated[Share, Field(gt=0)] = FAMILY_ALPHA
    min_judgments: Annotated[int, Field(ge=0)] = 100
    min_recruiters: Count = 8


def measure(trial: "Trial") -> Judgments:
    """The interactions in the judgments of both strata."""
    return audit_judgments(trial.preferences, trial.groups, groups_of_names())


def gate(found: Judgments, limits: JudgmentLimits) -> GateResult:
    """Fail when an interaction is significant (Holm); pass when every 90% interval lies within ± ``limits.within``; else *insufficient*.

    No group, fewer judgments in a group or fewer recruiters than the limits ask for are *insufficient* too. A significant interaction fails
    also where others are too uncertain.
    """
    limit = f"no interaction at a family-wise level of {limits.alpha:g} (Holm), and every 90% interval within ±{limits.within:g}"
    few = [f"{n} of {group}" for of in found.groups.values() for group, n in tested_groups(of).items() if n < limits.min_judgments]
    significant = [each for each in found.interactions if each.p_holm < limits.alpha]
    if not found.interactions:
        return _nothing(found, limits, limit)
    worst = min(significant, key=lambda each: each.p) if significant else max(found.interactions, key=_reach)
    unclear = _reach(worst) >= limits.within
    short = found.recruiters < limits.min_recruiters or bool(few)
    said = f"{found.judgments} judgments of {found.recruiters} recruiters; {len(found.interactions)} interactions tested, Holm"
    verdict: Verdict
    if significant and not short:
        verdict, words = "failed", f"{_preference(worst)} ({said})."
    elif short:
        verdict = "insufficient"
        words = (
            f"Not enough evidence: {said}; at least {limits.min_judgments} judgments in each group and {limits.min_recruiters} recruiters "
            f"are needed{'; there are ' + ', '.join(few) if few else ''}."
        )
    elif unclear:
        verdict = "insufficient"
        words = (
            f"Not enough evidence: a difference of {limits.within:g} logits in how recruiters value {_words(worst.attribute)} for "
            f"{worst.group} and {worst.reference} candidates cannot be excluded "
            f"({worst.interval.low:+.2f} to {worst.interval.high:+.2f}); {said}."
        )
    else:
        verdict = "passed"
        seen = max(each.detectable for each in found.interactions)
        words = (
            f"Recruiters value replies alike whatever the candidate's group ({said}); "
            f"a difference of {seen:.1f} logits would have been found."
        )
    return result(AUDIT.name, verdict, worst.interval, limit=limit, unit="logits", n=found.judgments, words=words + _left_out(found))


def _nothing(found: Judgments, limits: JudgmentLimits, limit: str) -> GateResult:
    words = f"no two groups of candidates can be compared; {found.unknown} judgments are of candidates without a known group."
    if limits.min_judgments == 0:
        return GateResult(
            name=AUDIT.name, verdict="passed", figure=None, low=None, high=None, n=0, limit="none: min_judgments = 0", unit="logits",
            words=f"Not examined, by setting: {words}",
        )  # fmt: skip
    hint = " Record candidates' groups, or name the candidate in the prompt's facts (Candidate: …)."
    return insufficient(AUDIT.name, f"Not enough evidence: {words}{hint}", limit, "logits", found.judgments)


def _reach(each: Interaction) -> float:
    reach = max(abs(each.interval.low), abs(each.interval.high))
    return reach if np.isfinite(reach) else float("inf")


def _words(name: str) -> str:
    return {"dated": "a dated next step", "appointment": "an offered time", "warm": "warmth", "question": "a question"}.get(
        name, name.replace("_", " ")
    )


def _preference(each: Interaction) -> str:
    more = "more" if each.interval.figure > 0 else "less"
    return (
        f"Recruiters value {_words(each.attribute)} {abs(each.interval.figure):.1f} logits {more} in replies to {each.group} candidates "
        f"than to {each.reference} candidates ({each.interval.low:+.2f} to {each.interval.high:+.2f}, p = {each.p_holm:.2g})"
    )


def _left_out(found: Judgments) -> str:
    rare = sorted({name for names in found.untested.values() for name in names})
    words = f" Not tested, because the replies of a pair rarely differ in it: {', '.join(map(_words, rare))}." if rare else ""
    return words + (f" Groups too small to test: {', '.join(found.small)}." if found.small else "")


def rows(found: Judgments) -> Rows:
    """Each interaction with its interval and what could have been found."""
    return [
        (
            f"{_words(each.attribute)}, {each.group} against {each.reference}",
            f"{each.interval.figure:+.2f} logits ({each.interval.low:+.2f} to {each.interval.high:+.2f}); {each.detectable:.1f} detectable",
        )
        for each in found.interactions
    ]


AUDIT = Audit(
    "judgments", "Do recruiters prefer the same replies for every group?", JudgmentLimits, Judgments, measure, gate, rows, topic="fairness"
)
