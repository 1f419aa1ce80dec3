"""Did the replies become much longer or shorter than the base model's?"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from storage.events import GateResult
from trainers.audits.audit import Audit, Count, Finding, Limits, Rows, insufficient, result
from trainers.audits.statistics.intervals import Interval

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

CONFIDENCE = 0.90  # two one-sided tests at 5% each


class LengthLimits(Limits):
    """``within``: the mean length may differ by this factor, as a natural logarithm (.4 is 33% shorter to 49% longer)."""

    within: Annotated[float, Field(gt=0)] = 0.4
    min_prompts: Count = 800


class Lengths(Finding):
    """Mean lengths in characters, and the log of challenger's by base's with its 90% interval over prompts."""

    challenger: float
    champion: float
    base: float
    log_ratio: Interval


def measure(trial: "Trial") -> Lengths:
    replies = trial.replies
    ours, theirs, first = ([len(text) for text in texts] for texts in (replies.challenger, replies.champion, replies.base))
    n = max(len(ours), 1)
    return Lengths(challenger=sum(ours) / n, champion=sum(theirs) / n, base=sum(first) / n, log_ratio=log_ratio(ours, first))


def log_ratio(ours: Sequence[int], theirs: Sequence[int]) -> Interval:
    """The log ratio of two paired means with its 90% interval by the delta method; infinite where a mean is zero or n < 2.

    The variance is that of a_i / mean(a) - b_i / mean(b), divided by n (Cochran 1977, "Sampling Techniques", section 6.3).
    """
    import numpy as np
    from scipy.stats import t

    n = len(ours)
    if n < 2 or not sum(ours) or not sum(theirs):
        return Interval(figure=0.0, low=-math.inf, high=math.inf, n=n)
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    figure = math.log(a.mean() / b.mean())
    half_width = float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(a / a.mean() - b / b.mean(), ddof=1) / math.sqrt(n))
    return Interval(figure=figure, low=figure - half_width, high=figure + half_width, n=n)


def gate(found: Lengths, limits: LengthLimits) -> GateResult:
    """Pass when the 90% interval of the log ratio lies within ± ``limits.within``, which shows equivalence at 5%."""
    ratio = found.log_ratio
    limit = f"the 90% interval of the log ratio within ±{limits.within:g}"
    if ratio.n < limits.min_prompts:
        words = f"Not enough evidence: {ratio.n} replies were measured; at least {limits.min_prompts} are needed."
        return insufficient(AUDIT.name, words, limit, "log ratio", ratio.n)
    return result(
        AUDIT.name,
        "passed" if -limits.within < ratio.low and ratio.high < limits.within else "failed",
        ratio,
        limit=limit,
        unit="log ratio",
        words=f"The new replies have {found.challenger:.0f} characters on average, the base model's {found.base:.0f}.",
    )


def rows(found: Lengths) -> Rows:
    return [("Mean length, champion", f"{found.champion:.0f} characters")]


AUDIT = Audit("length", "Are its replies about as long as the base model's?", LengthLimits, Lengths, measure, gate, rows)
