"""Is the share of bad replies no greater than the champion's? Shared by the audits that read texts."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from storage.events import GateResult
from trainers.audits.audit import Count, Finding, Limits, Share
from trainers.audits.intervals import paired_shares

MAX_EXAMPLES = 5
MAX_EXAMPLE_LENGTH = 500  # characters


class ShareLimits(Limits):
    """Maximum excess over the champion's share, with one-sided ``confidence``, on at least ``min_prompts`` prompts."""

    margin: Share = 0.02
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_prompts: Count = 800


class Shares(Finding):
    """Shares of both models' replies to the same prompts that have a finding.

    Attributes
    ----------
    challenger, champion : shares of their replies
    more, fewer : prompts with a finding in the challenger's reply only, and in the champion's only; None in reports of 0.1.0
    examples : findings in the challenger's replies, each with the reply
    """

    challenger: float
    champion: float
    n: int
    more: int | None = None
    fewer: int | None = None
    examples: tuple[str, ...] = ()


def compare(challenger: Sequence[Sequence[str]], champion: Sequence[Sequence[str]], replies: Sequence[str]) -> Shares:
    """The shares from the findings in each reply, in the order of the prompts; ``replies`` are the challenger's texts."""
    ours, theirs = [bool(found) for found in challenger], [bool(found) for found in champion]
    n = len(ours)
    examples = [f"{'; '.join(found)}: {text}"[:MAX_EXAMPLE_LENGTH] for found, text in zip(challenger, replies, strict=True) if found]
    return Shares(
        challenger=sum(ours) / n if n else 0.0,
        champion=sum(theirs) / n if n else 0.0,
        n=n,
        more=sum(a and not b for a, b in zip(ours, theirs, strict=True)),
        fewer=sum(b and not a for a, b in zip(ours, theirs, strict=True)),
        examples=tuple(examples[:MAX_EXAMPLES]),
    )


def not_worse(name: str, what: str, found: Shares, limits: ShareLimits) -> GateResult:
    """Pass when the challenger's share is shown to be less than ``limits.margin`` above the champion's."""
    assert found.more is not None
    assert found.fewer is not None
    difference = paired_shares(found.more, found.fewer, found.n, limits.confidence)
    enough = difference.n >= limits.min_prompts
    good = difference.high < limits.margin
    if not enough:
        words = f"Not enough evidence: {difference.n} replies were checked; at least {limits.min_prompts} are needed."
    else:
        words = (
            f"{found.challenger:.1%} of the new replies {what}, against {found.champion:.1%} of the champion's; "
            f"the difference is at most {max(difference.high, 0) * 100:.1f} points with {limits.confidence:.0%} confidence."
        )
    return GateResult(
        name=name,
        verdict="insufficient" if not enough else "passed" if good else "failed",
        figure=difference.figure,
        low=difference.low,
        high=difference.high,
        n=difference.n,
        limit=f"at most {limits.margin * 100:g} points above the champion's, one-sided {limits.confidence:.0%}",
        unit="share",
        words=words,
    )
