"""Is the share of replies with a finding no greater than the base model's? Shared by the audits that read texts.

Content gates compare with the base model and not with the champion: small losses that each gate lets through cannot add up over promotions.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from storage.events import GateResult
from trainers.audits.audit import Count, Finding, Limits, Rows, Share, insufficient, result
from trainers.audits.statistics.intervals import paired_shares

MAX_EXAMPLES = 5
MAX_EXAMPLE_LENGTH = 500  # characters


class ShareLimits(Limits):
    """Maximum excess over the base model's share, with one-sided ``confidence``, on at least ``min_prompts`` prompts."""

    margin: Share = 0.02
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_prompts: Count = 800


class Shares(Finding):
    """Shares of the replies of challenger, champion and base to the same prompts that have a finding.

    Attributes
    ----------
    challenger, champion, base : shares of their replies; ``base`` is None in reports that compared with the champion
    n : prompts that can be checked
    more, fewer : prompts with a finding in the challenger's reply only, and in the base model's only; None in reports of 0.1.0
    examples : findings in the challenger's replies, each with the reply
    """

    challenger: float
    champion: float
    n: int
    base: float | None = None
    more: int | None = None
    fewer: int | None = None
    examples: tuple[str, ...] = ()


def compare(
    challenger: Sequence[Sequence[str]],
    champion: Sequence[Sequence[str]],
    base: Sequence[Sequence[str]],
    replies: Sequence[str],
    examples: int = MAX_EXAMPLES,
) -> Shares:
    """The shares from the findings in each reply, in the order of the prompts.

    Parameters
    ----------
    replies : the challenger's texts
    examples : number of the challenger's findings to keep
    """
    ours, theirs, first = ([bool(found) for found in findings] for findings in (challenger, champion, base))
    n = len(ours)
    texts = [f"{'; '.join(found)}: {text}"[:MAX_EXAMPLE_LENGTH] for found, text in zip(challenger, replies, strict=True) if found]
    return Shares(
        challenger=sum(ours) / n if n else 0.0,
        champion=sum(theirs) / n if n else 0.0,
        base=sum(first) / n if n else 0.0,
        n=n,
        more=sum(a and not b for a, b in zip(ours, first, strict=True)),
        fewer=sum(b and not a for a, b in zip(ours, first, strict=True)),
        examples=tuple(texts[:examples]),
    )


def not_worse(name: str, what: str, found: Shares, limits: ShareLimits) -> GateResult:
    """Pass when the challenger's share is shown to be less than ``limits.margin`` above the base model's.

    ``what`` completes the sentence "… of the new replies …".
    """
    limit = f"at most {limits.margin * 100:g} points above the base model's, one-sided {limits.confidence:.0%}"
    if missing := lacks_evidence(name, found, limits.min_prompts, limit):
        return missing
    difference = paired_shares(found.more or 0, found.fewer or 0, found.n, limits.confidence)
    return result(
        name,
        "passed" if difference.high < limits.margin else "failed",
        difference,
        limit=limit,
        unit="share",
        words=(
            f"{found.challenger:.1%} of the new replies {what}, against {found.base:.1%} of the base model's; "
            f"the difference is at most {max(difference.high, 0) * 100:.1f} points with {limits.confidence:.0%} confidence."
        ),
    )


def lacks_evidence(name: str, found: Shares, least: int, limit: str) -> GateResult | None:
    """The *insufficient* result of a finding with too few prompts, or of one that was not compared with the base model."""
    if found.base is None or found.more is None or found.fewer is None:
        words = "Not enough evidence: this report compares with the champion, not with the base model; evaluate the version again."
        return insufficient(name, words, limit, "share", found.n)
    if found.n < least:
        words = f"Not enough evidence: {found.n} replies could be checked; at least {least} are needed."
        return insufficient(name, words, limit, "share", found.n)
    return None


def of_champion(label: str, found: Shares) -> Rows:
    """The champion's share as a row of the review page."""
    return [(f"{label}, champion", f"{found.champion:.1%}")]
