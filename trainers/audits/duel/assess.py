"""Has a duel been decided, and how? A pure function of its judgments in order."""

from collections.abc import Sequence

import numpy as np

from trainers.audits.duel.judgments import DuelJudgment, counted, groups_of, harm_alpha_of
from trainers.audits.duel.settings import DuelRule
from trainers.audits.duel.state import DuelState, Outcome, state_of
from trainers.audits.statistics.sequential import first_crossing, log_wealth, log_wealth_below


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
    return state_of(ordered, rows[: end + 1], rule, outcome, harmed[1] if harmed and outcome == "harm" else None)


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
    for attribute, group in groups_of(rows):
        member = np.array([each.groups.get(attribute) == group for each in rows])
        cleared = first_crossing(log_wealth(outcomes[member], 0.5 - rule.harm_margin), rule.harm_alpha)
        since = len(rows) if cleared is None else int(np.flatnonzero(member)[cleared])
        allowed &= (np.cumsum(member) < rule.group_share * n) | (n - 1 >= since)
    return int(np.argmax(allowed)) if allowed.any() else None


def _first_harm(rows: Sequence[DuelJudgment], rule: DuelRule) -> tuple[int, str] | None:
    """The index of the judgment that shows harm to a group, and the group; the earliest if there are several."""
    found = []
    for number, (attribute, group) in enumerate(groups_of(rows), 1):
        indices = [i for i, each in enumerate(rows) if each.groups.get(attribute) == group]
        wealth = log_wealth_below(np.array([rows[i].outcome for i in indices]), 0.5 - rule.harm_margin)
        if (at := first_crossing(wealth, harm_alpha_of(number, rule))) is not None:
            found.append((indices[at], f"{attribute} {group}"))
    return min(found, default=None)
