"""Does the challenger still say different things to different candidates?

Measured by distinct-2 (Li et al. 2016, "A Diversity-Promoting Objective Function", arXiv:1510.03055): the number of different pairs of
adjacent words over all replies, divided by the number of pairs. Words that occur in the prompt are replaced by a placeholder, so that
names, slots and roles do not count as variety.
"""

import itertools
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from storage.events import GateResult, Message
from trainers.audits.audit import Audit, Count, Finding, Limits, Rows, Share, insufficient, result
from trainers.audits.statistics.intervals import Interval

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

BLOCKS = 20  # of the jackknife
_WORD = re.compile(r"[\w'’:]+|[.!?]")


class DiversityLimits(Limits):
    """``least``: the ratio of the challenger's distinct-2 to the base model's, with one-sided ``confidence``."""

    least: Share = 0.5
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_prompts: Count = 800


class Diversity(Finding):
    """Distinct-2 of each model's replies; the jackknife's standard error of the log ratio of challenger's to base's; prompts."""

    challenger: float
    champion: float
    base: float
    error: float
    n: int


def measure(trial: "Trial") -> Diversity:
    replies = trial.replies
    ours, theirs, first = (
        [pairs(prompt, text) for prompt, text in zip(trial.prompts, texts, strict=True)]
        for texts in (replies.challenger, replies.champion, replies.base)
    )
    return Diversity(
        challenger=distinct(ours), champion=distinct(theirs), base=distinct(first), error=jackknife_error(ours, first), n=len(ours)
    )


def pairs(prompt: Sequence[Message], reply: str) -> list[tuple[str, str]]:
    """The pairs of adjacent words of a reply, without case; numbers, and capitalised words of the prompt, are placeholders."""
    given = {word for message in prompt for word in _WORD.findall(message.content) if word[0].isupper()}
    words = ["_" if word in given or word[0].isdigit() else word.casefold() for word in _WORD.findall(reply)]
    return list(itertools.pairwise(words))


def distinct(replies: Sequence[Sequence[tuple[str, str]]]) -> float:
    """The share of different pairs among all pairs."""
    total = sum(map(len, replies))
    return len({pair for reply in replies for pair in reply}) / total if total else 0.0


def jackknife_error(ours: Sequence[Sequence[tuple[str, str]]], theirs: Sequence[Sequence[tuple[str, str]]]) -> float:
    """The standard error of the log ratio of two distinct-2, by leaving out each of up to 20 blocks of prompts.

    A bootstrap would repeat prompts, which lowers distinct-n. After Efron and Tibshirani (1993), "An Introduction to the Bootstrap",
    chapter 11; infinite for fewer than two prompts, or a ratio of zero.
    """
    blocks = min(BLOCKS, len(ours))
    if blocks < 2:
        return math.inf
    logs = []
    for block in range(blocks):
        left = [[reply for i, reply in enumerate(model) if i % blocks != block] for model in (ours, theirs)]
        one, other = distinct(left[0]), distinct(left[1])
        if not one or not other:
            return math.inf
        logs.append(math.log(one / other))
    mean = sum(logs) / blocks
    return math.sqrt((blocks - 1) / blocks * sum((each - mean) ** 2 for each in logs))


def ratio(found: Diversity, confidence: float) -> Interval:
    """The ratio of challenger's to base's, with one-sided bounds, symmetric on the log scale."""
    from scipy.stats import t

    if not found.base or not found.challenger or not math.isfinite(found.error):
        return Interval(figure=0.0, low=0.0, high=math.inf, n=found.n)
    figure, factor = found.challenger / found.base, math.exp(float(t.ppf(confidence, min(BLOCKS, found.n) - 1)) * found.error)
    return Interval(figure=figure, low=figure / factor, high=figure * factor, n=found.n)


def gate(found: Diversity, limits: DiversityLimits) -> GateResult:
    """Pass when the ratio is shown to be above ``limits.least``."""
    measured = ratio(found, limits.confidence)
    limit = f"above {limits.least:g} of the base model's, one-sided {limits.confidence:.0%}"
    if found.n < limits.min_prompts:
        words = f"Not enough evidence: {found.n} replies were read; at least {limits.min_prompts} are needed."
        return insufficient(AUDIT.name, words, limit, "ratio", found.n)
    return result(
        AUDIT.name,
        "passed" if measured.low > limits.least else "failed",
        measured,
        limit=limit,
        unit="ratio",
        words=(
            f"The new replies have {measured.figure:.2f} times the base model's share of different word pairs "
            f"({found.challenger:.1%} against {found.base:.1%})."
        ),
    )


def rows(found: Diversity) -> Rows:
    return [("Different word pairs, champion", f"{found.champion:.1%}")]


AUDIT = Audit("diversity", "Are its replies as varied as the base model's?", DiversityLimits, Diversity, measure, gate, rows)
