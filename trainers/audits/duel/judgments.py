"""The judgments of a duel: which of them count, and the groups of candidates that they name."""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.events import Identifier, Sha256
from trainers.audits.duel.settings import DuelRule

FREE = 5  # judgments of a recruiter that always count; from 20 judgments on this is at most a quarter


class DuelJudgment(BaseModel):
    """One judgment of a pair of the challenger's and the champion's replies.

    Attributes
    ----------
    sequence : its number on ``feedback.preferences``
    outcome : 1 if the challenger's reply was preferred, 0.5 for a tie, else 0
    live : whether the candidate got the challenger's reply (canary)
    groups : the candidate's recorded groups by attribute
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: Annotated[int, Field(ge=1)]
    recruiter: Identifier
    outcome: Annotated[float, Field(ge=0, le=1, multiple_of=0.5)]
    live: bool = False
    groups: dict[str, str] = Field(default_factory=dict)


class DuelEvidence(BaseModel):
    """The judgments that a decision rests on, as an artifact, so that readers can repeat the decision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    champion: str
    settings: Sha256 | None
    judgments: tuple[DuelJudgment, ...]


def counted(recruiters: Sequence[str], share: float) -> list[bool]:
    """Which judgments count, so that nobody supplies more than ``share`` of those that do.

    It is decided before the judgment is seen: from who gives it and from the judgments before it. Bets stay fair only in this way.
    """
    used: dict[str, int] = {}
    total = 0
    found = []
    for recruiter in recruiters:
        own = used.get(recruiter, 0) + 1
        counts = own <= max(FREE, share * (total + 1)) or share == 1
        if counts:
            used[recruiter] = own
            total += 1
        found.append(counts)
    return found


def groups_of(rows: Sequence[DuelJudgment]) -> list[tuple[str, str]]:
    """The groups in the order in which they were first seen."""
    return list(dict.fromkeys((attribute, group) for each in rows for attribute, group in sorted(each.groups.items())))


def harm_alpha_of(number: int, rule: DuelRule) -> float:
    """The ``number``-th group (from 1) spends 6 / (pi n)² of the error rate, so that groups may appear at any time."""
    return rule.harm_alpha * 6 / (math.pi * number) ** 2
