"""Synthetic duels: answers drawn at known win rates, through the real :func:`trainers.audits.duel.assess`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trainers.audits.duel import DuelJudgment, DuelRule, DuelState, Outcome, assess, assess_canary

TIES = 0.2
RULE = DuelRule()
SPARE = 1.25  # judgments above one recruiter's share do not count, and are drawn on top
FIRST_LOOK = 125  # most duels end early: a decision on the first judgments is the decision on all of them


class Ended(NamedTuple):
    """How a duel ended, after how many judgments that count; ``outcome`` is None if it never did."""

    outcome: Outcome | None
    judgments: int


@dataclass(frozen=True)
class Answers:
    """Outcomes of judgments in order, by recruiter ``who`` on a candidate of ``group``, ``(n,)`` each."""

    outcomes: np.ndarray
    who: np.ndarray
    group: np.ndarray | None

    @classmethod
    def draw(
        cls, rng: np.random.Generator, means: np.ndarray, ties: np.ndarray | float, who: np.ndarray, group: np.ndarray | None
    ) -> "Answers":
        """Answers with these mean outcomes and shares of ties, ``(n,)``."""
        u = rng.random(len(means))
        return cls(np.where(u < means - ties / 2, 1.0, np.where(u < means + ties / 2, 0.5, 0.0)), who, group)

    @classmethod
    def of_panel(cls, rng: np.random.Generator, n: int, win_rates: np.ndarray, ties: np.ndarray, shares: np.ndarray) -> "Answers":
        """Answers of recruiters in random order, see :func:`panel_duel`."""
        who, group = rng.integers(len(ties), size=n), rng.choice(len(shares), size=n, p=shares)
        edge = ties[who] / 2
        return cls.draw(rng, np.clip(win_rates[who, group], edge, 1 - edge), ties[who], who, group)

    def __len__(self) -> int:
        return len(self.outcomes)

    def judgments(self, n: int, *, live: bool = False) -> list[DuelJudgment]:
        """The first ``n`` as judgments."""
        outcomes, who = self.outcomes[:n].tolist(), self.who[:n].tolist()
        groups: list[dict[str, str]] = [{}] * n if self.group is None else [{"group": "abcdefgh"[each]} for each in self.group[:n].tolist()]
        return [
            DuelJudgment.model_construct(sequence=i + 1, recruiter=f"r-{who[i]}", outcome=outcomes[i], live=live, groups=groups[i])
            for i in range(len(outcomes))
        ]

    def state(self, rule: DuelRule) -> DuelState:
        """The state at which the duel ended, as ``assess`` finds it on all answers, without counting those after its end."""
        looked = FIRST_LOOK
        while looked < len(self):
            state = assess(self.judgments(looked), rule)
            if state.outcome is not None:
                return state
            looked *= 3
        return assess(self.judgments(len(self)), rule)


def duel(
    win_rate: float,
    seed: int | Sequence[int],
    rule: DuelRule = RULE,
    *,
    own: float = 0.0,
    groups: tuple[float, float] | None = None,
    recruiters: int = 12,
) -> DuelState:
    """One duel to its end; one judgment in five is a tie.

    Parameters
    ----------
    own : standard deviation of the recruiters' own win rates; their mean is exactly ``win_rate``
    groups : the win rates among the candidates of two equally large groups, instead of ``win_rate``
    """
    rng = np.random.default_rng(seed)
    tastes = rng.normal(0, own, recruiters)
    rates = np.clip(win_rate + tastes - tastes.mean(), TIES / 2, 1 - TIES / 2)
    who = rng.integers(recruiters, size=rule.budget)
    group = rng.integers(2, size=rule.budget)
    mean = rates[who] if groups is None else np.array(groups)[group]
    return Answers.draw(rng, mean, TIES, who, None if groups is None else group).state(rule)


def panel_duel(rng: np.random.Generator, rule: DuelRule, win_rates: np.ndarray, ties: np.ndarray, shares: np.ndarray) -> Ended:
    """One duel before a panel, with its canary if the rule has one; without a duel the challenger has won after no judgment.

    Parameters
    ----------
    win_rates, ties : of each recruiter among the candidates of each group, ``(K, g)``, and of each recruiter, ``(K,)``
    shares : of the groups among candidates, ``(g,)``
    """
    if not rule.required:
        return Ended("better", 0)
    state = Answers.of_panel(rng, math.ceil(rule.budget * SPARE), win_rates, ties, shares).state(rule)
    if state.outcome != "better" or not rule.canary:
        return Ended(state.outcome, state.counted)
    n = math.ceil(len(rule.canary) * rule.canary_judgments * SPARE) + FIRST_LOOK
    live = Answers.of_panel(rng, n, win_rates, ties, shares).judgments(n, live=True)
    outcome, through, _ = assess_canary(live, rule, len(rule.canary) - 1)
    return Ended(outcome, state.counted + through)


def fixed_n(win_rate: float, alpha: float, power: float = 0.8, ties: float = TIES) -> int:
    """Judgments of the one-sided z-test of a mean above one half, with ties."""
    from scipy.stats import norm

    null = math.sqrt((1 - ties) / 4)
    alternative = math.sqrt((1 - ties) / 4 - (win_rate - 0.5) ** 2)
    needed = float(norm.ppf(1 - alpha)) * null + float(norm.ppf(power)) * alternative
    return math.ceil((needed / (win_rate - 0.5)) ** 2)
