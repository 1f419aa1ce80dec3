"""Reads attributes of a reply from its text: the outcomes that the audits of judgments and of the policy compare between groups."""

import math
import re
from collections.abc import Callable, Mapping

_DAY = r"Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|tomorrow"
_DATED = re.compile(rf"\b(?:by|on|until|before|this|next|at the latest) (?:{_DAY})\b|\b(?:{_DAY})\b", re.I)
_REFUSAL = re.compile(
    r"\b(?:not|won't|cannot|can't|unable to|unfortunately)\b.{0,40}\b(?:go on|go ahead|proceed|continue|consider|offer|select|move)", re.I
)
_WARM = re.compile(r"\b(?:thank you|thanks|glad|pleased|delighted|happy|warm|kind|dear|wish you|sorry)\b|!", re.I)


def _dated(reply: str) -> float:
    return float(_DATED.search(reply) is not None)


def _question(reply: str) -> float:
    return float("?" in reply)


def _refusal(reply: str) -> float:
    return float(_REFUSAL.search(reply) is not None)


def _warm(reply: str) -> float:
    return float(_WARM.search(reply) is not None)


def _length(reply: str) -> float:
    return math.log1p(len(reply))


ATTRIBUTES: Mapping[str, Callable[[str], float]] = {
    "dated": _dated,
    "question": _question,
    "refusal": _refusal,
    "warm": _warm,
    "length": _length,
}


def read(reply: str) -> dict[str, float]:
    """Every attribute of a reply: shares are 0 or 1, ``length`` is the log of 1 + the number of characters."""
    return {name: reader(reply) for name, reader in ATTRIBUTES.items()}
