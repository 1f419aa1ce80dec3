"""The duel: recruiters judge an approved challenger's replies against the champion's, blind, until the evidence decides.

Candidates keep getting the champion's reply; the challenger only writes the second response of a pair. Three tests by betting
(:mod:`trainers.audits.statistics.sequential`) are looked at after every judgment: is the challenger better, is it worse for a monitored
group by more than the margin, and is it shown to be below the smallest win rate that is worth a promotion. What decides is a pure function
of the judgments in order, so that anyone with the evidence can repeat it.
"""

from trainers.audits.duel.assess import assess, assess_canary, wealth_path
from trainers.audits.duel.judgments import DuelEvidence, DuelJudgment, counted
from trainers.audits.duel.settings import DuelRule
from trainers.audits.duel.state import DuelState, GroupState, Outcome, Stage

__all__ = [
    "DuelEvidence",
    "DuelJudgment",
    "DuelRule",
    "DuelState",
    "GroupState",
    "Outcome",
    "Stage",
    "assess",
    "assess_canary",
    "counted",
    "wealth_path",
]
