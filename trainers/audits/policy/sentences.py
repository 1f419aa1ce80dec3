"""The comparisons of the audit of the policy in words, for the gate's sentence and the review page."""

from collections.abc import Sequence

from trainers.audits.audit import Rows
from trainers.audits.policy.comparisons import Comparison, is_share

MAX_ROWS = 6
WORDS = {
    "dated": "a dated next step",
    "appointment": "an appointment",
    "question": "a question",
    "refusal": "a refusal",
    "warm": "warmth",
    "length": "log length",
    "spread": "spread of log length",
    "very_short": "a very short reply",
    "unlawful": "an unlawful question",
    "task": "the task done",
}


def sentence(each: Comparison) -> str:
    """What was judged, with its interval: "a refusal for older against younger, +3.1 points (-1.0 to +7.2) more than by the base model"."""
    figure = each.judged
    if is_share(each.outcome):
        size = f"{figure.figure * 100:+.1f} points ({figure.low * 100:+.1f} to {figure.high * 100:+.1f})"
    else:
        size = f"{figure.figure:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"
    against = "" if each.base is None else " more than by the base model"
    return f"{_what(each.outcome)} for {each.group} against {each.reference}, {size}{against}"


def difference_rows(comparisons: Sequence[Comparison]) -> Rows:
    """The largest of what was judged, with the base model's difference and what could have been seen."""
    largest = sorted(comparisons, key=lambda each: -abs(each.judged.figure))[:MAX_ROWS]
    return [(f"{each.group} against {each.reference}: {_what(each.outcome)}", _figures(each)) for each in largest]


def _figures(each: Comparison) -> str:
    judged, challenger = each.judged, each.challenger
    found = f"{judged.figure:+.3f} ({judged.low:+.3f} to {judged.high:+.3f})"
    if each.base is not None:
        found += f" = {challenger.figure:+.3f}, base model {each.base.figure:+.3f}"
    return f"{found}; {judged.n} pairs; a difference of {each.detectable:.2f} would be found"


def _what(outcome: str) -> str:
    return WORDS.get(outcome, outcome.replace("_", " "))
