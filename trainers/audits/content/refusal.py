"""Does the challenger turn candidates away more often than the base model where their facts state no rejection?"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from storage.events import GateResult, Message
from trainers.audits.audit import Audit, Count, Rows
from trainers.audits.content.facts import facts_of
from trainers.audits.content.shares import ShareLimits, Shares, compare, not_worse, of_champion
from trainers.audits.judgments import attributes

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

_REJECTION = re.compile(
    r"\b(?:not (?:selected|chosen|successful|suitable)|unsuccessful|reject\w*|declin\w*|turned down|withdrawn|position closed|filled)\b",
    re.I,
)


class RefusalLimits(ShareLimits):
    """``min_prompts`` counts prompts whose facts state no rejection."""

    min_prompts: Count = 400


def states_rejection(prompt: Sequence[Message]) -> bool:
    """Whether the prompt's facts say that the candidate was rejected, so that a refusal is right."""
    return any(_REJECTION.search(value) for value in facts_of(prompt).values())


def measure(trial: "Trial") -> Shares:
    """The shares of replies with a refusal, among prompts whose facts state no rejection."""
    others = [i for i, prompt in enumerate(trial.prompts) if not states_rejection(prompt)]
    replies = trial.replies
    ours, theirs, first = (
        [["a refusal"] if attributes.read(texts[i])["refusal"] else [] for i in others]
        for texts in (replies.challenger, replies.champion, replies.base)
    )
    return compare(ours, theirs, first, [replies.challenger[i] for i in others])


def gate(found: Shares, limits: RefusalLimits) -> GateResult:
    """Pass when the share of refusals is shown to be less than ``limits.margin`` above the base model's."""
    return not_worse(AUDIT.name, "turn down candidates who were not rejected", found, limits)


def rows(found: Shares) -> Rows:
    return of_champion("Refusals without a rejection", found)


AUDIT = Audit("refusal", "Does it turn away no more candidates?", RefusalLimits, Shares, measure, gate, rows)
