"""The duel: recruiters judge an approved challenger's replies against the champion's, blind, until the evidence decides.

Candidates keep getting the champion's reply; the challenger only writes the second response of a pair. Three tests by betting
(:mod:`trainers.audits.statistics.sequential`) are looked at after every judgment: is the challenger better, is it worse for a monitored
group by more than the margin, and is it shown to be below the smallest win rate that is worth a promotion. What decides is a pure function
of the judgments in order, so that anyone with the evidence can repeat it.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from storage.events import Identifier, Sha256
from storage.settings import section
from trainers.audits.statistics.sequential import confidence_sequence, first_crossing, log_wealth, log_wealth_below

Share = Annotated[float, Field(gt=0, lt=1)]
Outcome = Literal["better", "futile", "harm"]
Stage = Literal["duel", "canary"]

FREE = 5  # judgments of a recruiter that always count; from 20 judgments on this is at most a quarter


@section("duel")
class DuelRule(BaseModel):
    """How an approved version becomes champion. Frozen with the run's settings.

    Attributes
    ----------
    required : whether a version has to win a duel; if not, it becomes champion when it is approved
    alpha : probability that a challenger that is not preferred ever wins its duel
    least : smallest win rate worth a promotion; a challenger shown to be below it is retired
    futility_alpha : probability that a challenger with this win rate or a higher one is ever retired for futility
    harm_margin : a group is harmed if the challenger's win rate among its candidates is below one half by more than this
    harm_alpha : probability that a challenger that harms no group is ever stopped for harm, over all groups; and that one that harms a
        group is ever cleared of it
    group_share : a challenger cannot win before it is cleared of harm to each group with at least this share of the judgments
    min_judgments : judgments that count before a challenger can win
    budget : judgments after which the duel ends without a winner
    recruiter_share : largest share of the evidence from one recruiter; further judgments of theirs are stored, but do not count
    expires_days : days after the evaluation at which an undecided version is retired
    canary : shares of conversations that a winner answers, step by step, before it becomes champion; none by default
    canary_judgments : judgments without an alarm that end each step
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    required: bool = True
    alpha: Share = 0.05
    least: Annotated[float, Field(gt=0.5, lt=1)] = 0.55
    futility_alpha: Share = 0.05
    harm_margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.10
    harm_alpha: Share = 0.05
    group_share: Annotated[float, Field(gt=0, le=1)] = 0.10
    min_judgments: Annotated[int, Field(ge=1)] = 20
    budget: Annotated[int, Field(ge=1)] = 1000
    recruiter_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    expires_days: Annotated[float, Field(gt=0)] = 30.0
    canary: tuple[Share, ...] = ()
    canary_judgments: Annotated[int, Field(ge=1)] = 50


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


def assess(judgments: Sequence[DuelJudgment], rule: DuelRule) -> DuelState:
    """The state of a duel after ``judgments``, which are in the order of the log.

    The first judgment at which a test decides ends the duel; later ones are ignored.
    """
    ordered = [each for each in judgments if not each.live]
    counts = counted([each.recruiter for each in ordered], rule.recruiter_share)
    rows = [each for each, counts_ in zip(ordered, counts, strict=True) if counts_]
    outcomes = np.array([each.outcome for each in rows], float)
    candidates: list[tuple[int, int, Outcome]] = []  # index of the judgment, precedence, outcome
    harmed = _first_harm(rows, rule)
    if harmed is not None:
        candidates.append((harmed[0], 0, "harm"))
    if len(rows):
        if (won := _won(rows, outcomes, rule)) is not None:
            candidates.append((won, 1, "better"))
        if (lost := first_crossing(log_wealth_below(outcomes, rule.least), rule.futility_alpha)) is not None:
            candidates.append((lost, 2, "futile"))
        if len(rows) >= rule.budget:
            candidates.append((rule.budget - 1, 3, "futile"))
    end, _, outcome = min(candidates, default=(len(rows) - 1, 0, None))
    return _state(ordered, rows[: end + 1], rule, outcome, harmed[1] if harmed and outcome == "harm" else None)


def assess_canary(judgments: Sequence[DuelJudgment], rule: DuelRule, step: int) -> tuple[Outcome | None, int, str]:
    """Whether step ``step`` (from 0) of a canary has ended, on the judgments of live replies so far.

    Returns
    -------
    ``better`` when enough judgments raised no alarm, ``futile`` or ``harm`` at an alarm, None while it runs; the sequence number that
    decided, and the reason in a sentence. The canary runs the same tests as the duel, on live judgments only.
    """
    live = [each.model_copy(update={"live": False}) for each in judgments if each.live]
    state = assess(live, rule.model_copy(update={"min_judgments": len(live) + 1}))  # it has won before: only alarms can decide
    wanted = (step + 1) * rule.canary_judgments
    if state.outcome is not None and state.counted <= wanted:
        return state.outcome, state.through_sequence, state.words
    counts = counted([each.recruiter for each in live], rule.recruiter_share)
    rows = [each for each, counts_ in zip(live, counts, strict=True) if counts_]
    if len(rows) >= wanted:
        return "better", rows[wanted - 1].sequence, f"{wanted} live judgments without an alarm."
    return None, state.through_sequence, f"Step {step + 1} of {len(rule.canary)}: {len(rows)} of {wanted} live judgments."


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


def wealth_path(judgments: Sequence[DuelJudgment], rule: DuelRule) -> list[float]:
    """The wealth of the bet on the challenger after each judgment of the duel that counts."""
    ordered = [each for each in judgments if not each.live]
    counts = counted([each.recruiter for each in ordered], rule.recruiter_share)
    outcomes = np.array([each.outcome for each, counts_ in zip(ordered, counts, strict=True) if counts_])
    return [float(value) for value in np.exp(log_wealth(outcomes, 0.5))] if len(outcomes) else []


def _won(rows: Sequence[DuelJudgment], outcomes: np.ndarray, rule: DuelRule) -> int | None:
    """The index of the judgment at which the challenger wins: it is better, and cleared of harm to every group that is large enough.

    Without the second condition a challenger that most recruiters prefer wins before a smaller group has been heard.
    """
    n = np.arange(1, len(rows) + 1)
    better = np.maximum.accumulate(log_wealth(outcomes, 0.5)) >= -np.log(rule.alpha)
    allowed = better & (n >= rule.min_judgments)
    for attribute, group in _groups(rows):
        member = np.array([each.groups.get(attribute) == group for each in rows])
        cleared = first_crossing(log_wealth(outcomes[member], 0.5 - rule.harm_margin), rule.harm_alpha)
        since = len(rows) if cleared is None else int(np.flatnonzero(member)[cleared])
        allowed &= (np.cumsum(member) < rule.group_share * n) | (n - 1 >= since)
    return int(np.argmax(allowed)) if allowed.any() else None


def _groups(rows: Sequence[DuelJudgment]) -> list[tuple[str, str]]:
    """The groups in the order in which they were first seen."""
    return list(dict.fromkeys((attribute, group) for each in rows for attribute, group in sorted(each.groups.items())))


def _harm_alpha(number: int, rule: DuelRule) -> float:
    """The ``number``-th group (from 1) spends 6 / (pi n)² of the error rate, so that groups may appear at any time."""
    return rule.harm_alpha * 6 / (math.pi * number) ** 2


def _first_harm(rows: Sequence[DuelJudgment], rule: DuelRule) -> tuple[int, str] | None:
    """The index of the judgment that shows harm to a group, and the group; the earliest if there are several."""
    found = []
    for number, (attribute, group) in enumerate(_groups(rows), 1):
        indices = [i for i, each in enumerate(rows) if each.groups.get(attribute) == group]
        wealth = log_wealth_below(np.array([rows[i].outcome for i in indices]), 0.5 - rule.harm_margin)
        if (at := first_crossing(wealth, _harm_alpha(number, rule))) is not None:
            found.append((indices[at], f"{attribute} {group}"))
    return min(found, default=None)


def _state(
    ordered: Sequence[DuelJudgment], rows: Sequence[DuelJudgment], rule: DuelRule, outcome: Outcome | None, harmed: str | None
) -> DuelState:
    outcomes = np.array([each.outcome for each in rows], float)
    groups = []
    for number, (attribute, group) in enumerate(_groups(rows), 1):
        of_group = np.array([each.outcome for each in rows if each.groups.get(attribute) == group])
        clearing = log_wealth(of_group, 0.5 - rule.harm_margin)
        groups.append(
            GroupState(
                attribute=attribute,
                group=group,
                judgments=len(of_group),
                win_rate=float(of_group.mean()),
                evidence=float(np.exp(log_wealth_below(of_group, 0.5 - rule.harm_margin)[-1])),
                alpha=_harm_alpha(number, rule),
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
