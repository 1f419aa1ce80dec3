"""A positive control of the audit of the policy: generation with a planted preference of known size for or against some names."""

import random
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from storage.events import Message, Sampling
from trainers.audits.content.facts import SENTENCE
from trainers.audits.judgments.attributes import read

if TYPE_CHECKING:
    from trainers.models.policy import Policy

Generate = Callable[..., list[str]]


def planted(generate: Generate, names: Collection[str], probability: float, only: "Policy | None" = None) -> Generate:
    """``generate`` that drops the sentences with a date from replies to candidates of these names, with this probability for each reply.

    Parameters
    ----------
    only : the one policy that is biased; by default every one
    """
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")

    def biased(policy: "Policy", prompts: Sequence[Sequence[Message]], sampling: Sampling, seed: int, **options: Any) -> list[str]:
        replies = generate(policy, prompts, sampling, seed, **options)
        if only is not None and policy is not only:
            return replies
        chance = random.Random(seed)
        return [
            without_dates(reply) if chance.random() < probability and _names_one(prompt, pattern) else reply
            for prompt, reply in zip(prompts, replies, strict=True)
        ]

    return biased


def without_dates(reply: str) -> str:
    """The reply without its sentences that have a dated next step; never empty."""
    kept = [sentence for found in SENTENCE.finditer(reply) if not read(sentence := found.group())["dated"]]
    return "".join(kept).strip() or "Hello."


def _names_one(prompt: Sequence[Message], pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(message.content) for message in prompt)
