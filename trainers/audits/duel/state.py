"""Where a duel stands: counts, bounds that hold at all times, the wealth of each bet, each group, and a sentence that says it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from trainers.audits.duel.judgments import DuelJudgment, groups_of, harm_alpha_of
from trainers.audits.duel.settings import DuelRule
from trainers.audits.statistics.sequential import confidence_sequence, first_crossing, log_wealth, log_wealth_below

Outcome = Literal["better", "futile", "harm"]
Stage = Literal["duel", "canary"]


class GroupState(BaseModel):
    """The duel among the candidates of one group.

    ``evidence`` is the wealth of the bet on harm, which stops the duel at ``1 / alpha``; ``clearing`` that of the bet against it.
    ``cleared`` says whether that has reached ``1 / harm_alpha``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attribute: str
    group: str
    judgments: int
    win_rate: float
    evidence: float
    alpha: float
    clearing: float = 1.0
    cleared: bool = False


class DuelState(BaseModel):
    """Where a duel stands.

    Attributes
    ----------
    judgments, counted : all of them, and those that count after the limit on one recruiter's share
    wins, ties, losses : of the counted ones
    win_rate, low, high : mean outcome, and bounds that each hold at all times together with probability 1 - ``alpha``
    better, futile : wealth of the two bets; the first reaches ``1 / alpha`` for a winner
    needed : the wealth that wins
    outcome : what was decided, at judgment ``through_sequence``; None while it is open
    words : the state in a sentence
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    judgments: int
    counted: int
    recruiters: int
    wins: int
    ties: int
    losses: int
    win_rate: float | None
    low: float
    high: float
    better: float
    futile: float
    needed: float
    groups: tuple[GroupState, ...]
    outcome: Outcome | None
    through_sequence: int
    words: str


def state_of(
    ordered: Sequence[DuelJudgment], rows: Sequence[DuelJudgment], rule: DuelRule, outcome: Outcome | None, harmed: str | None
) -> DuelState:
    outcomes = np.array([each.outcome for each in rows], float)
    groups = []
    for number, (attribute, group) in enumerate(groups_of(rows), 1):
        of_group = np.array([each.outcome for each in rows if each.groups.get(attribute) == group])
        clearing = log_wealth(of_group, 0.5 - rule.harm_margin)
        groups.append(
            GroupState(
                attribute=attribute,
                group=group,
                judgments=len(of_group),
                win_rate=float(of_group.mean()),
                evidence=float(np.exp(log_wealth_below(of_group, 0.5 - rule.harm_margin)[-1])),
                alpha=harm_alpha_of(number, rule),
                clearing=float(np.exp(clearing.max())),
                cleared=first_crossing(clearing, rule.harm_alpha) is not None,
            )
        )
    n = len(rows)
    low, high = confidence_sequence(outcomes, rule.alpha)
    win_rate = float(outcomes.mean()) if n else None
    return DuelState(
        judgments=len(ordered),
        counted=n,
        recruiters=len({each.recruiter for each in rows}),
        wins=int((outcomes == 1).sum()),
        ties=int((outcomes == 0.5).sum()),
        losses=int((outcomes == 0).sum()),
        win_rate=win_rate,
        low=low,
        high=high,
        better=float(np.exp(log_wealth(outcomes, 0.5)[-1])) if n else 1.0,
        futile=float(np.exp(log_wealth_below(outcomes, rule.least)[-1])) if n else 1.0,
        needed=1 / rule.alpha,
        groups=tuple(groups),
        outcome=outcome,
        through_sequence=rows[-1].sequence if n else 0,
        words=_words(
            n,
            win_rate,
            low,
            high,
            rule,
            outcome,
            harmed,
            better=bool(n) and first_crossing(log_wealth(outcomes, 0.5), rule.alpha) is not None,
            uncleared=[f"{g.attribute} {g.group}" for g in groups if not g.cleared and g.judgments >= rule.group_share * n],
        ),
    )


def _words(
    n: int,
    win_rate: float | None,
    low: float,
    high: float,
    rule: DuelRule,
    outcome: Outcome | None,
    harmed: str | None,
    better: bool,
    uncleared: Sequence[str],
) -> str:
    if win_rate is None:
        return "No judgments yet."
    measured = f"{n} judgments, win rate {win_rate:.0%} (at least {low:.0%}, at most {high:.0%})"
    match outcome:
        case "better":
            return f"Recruiters prefer the challenger: {measured}."
        case "harm":
            return f"Stopped: for candidates with {harmed} the challenger is worse by more than {rule.harm_margin:.0%}; {measured}."
        case "futile" if n >= rule.budget:
            return f"The budget of {rule.budget} judgments is used without a winner: {measured}."
        case "futile":
            return f"Its win rate is shown to be below {rule.least:.0%}: {measured}."
    if better and uncleared:
        return f"Better so far, but not yet cleared of harm to {', '.join(uncleared)}: {measured}."
    return f"Undecided: {measured}."
