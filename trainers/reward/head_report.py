"""What the online head knows and does not know, for the page *Reward* and for auditors: one report for each question.

Everything is computed from the head alone. Accuracy, log loss and calibration are prequential: each answer was predicted before it was
learnt (Dawid, 1984, "Statistical theory: the prequential approach"), so nothing is held out and nothing is seen twice.
"""

import math

import numpy as np
from pydantic import BaseModel, ConfigDict

from trainers.reward.agreement import Agreement, agreement
from trainers.reward.online.head import Head
from trainers.reward.online.history import UNANSWERED
from trainers.reward.recruiter_kinds import recruiter_reports

BINS = 10
LEAST_OF_HALF = 20


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CalibrationBin(Part):
    """Answers whose likelier side had a probability in this range: its mean, the share that chose it with a 95% interval, and how many."""

    predicted: float
    right: float
    low: float
    high: float
    answers: int


class RecruiterLine(Part):
    """One recruiter's answers to a question; see ``trainers.reward.recruiter_kinds``.

    Attributes
    ----------
    agrees, compared : share of equal choices with others on the same pair, and with how many judgments it was compared
    earlier, later : share of the decisive answers in the first and second half that were predicted right; None with fewer than 20 in a half
    """

    name: str
    kind: str
    judgments: int
    lapse: float
    pull: float
    scale: float
    evidence: float
    agrees: float | None
    compared: int
    earlier: float | None
    later: float | None


class QuestionReport(Part):
    """What is known of one question.

    Attributes
    ----------
    judgments : answers the head has learnt
    accuracy, log_loss, decisive : prequential, over the latest decisive answers
    cut_points : where the four strengths begin, in log-odds
    alpha, same_choice, repeats : agreement of recruiters who judged the same pair; None where there are too few
    """

    question: str
    judgments: int
    accuracy: float | None
    log_loss: float | None
    decisive: int
    cut_points: tuple[float, ...]
    calibration: tuple[CalibrationBin, ...]
    alpha: float | None
    same_choice: float | None
    repeats: int
    recruiters: tuple[RecruiterLine, ...]


class HeadReport(Part):
    """The head after entry ``sequence``."""

    head_id: str
    sequence: int
    reconciled_at: int
    questions: tuple[QuestionReport, ...]


def head_report(head: Head) -> HeadReport:
    """The report on every question of the head, answered or not."""
    return HeadReport(
        head_id=head.head_id,
        sequence=head.sequence,
        reconciled_at=head.reconciled_at,
        questions=tuple(_question(head, question) for question in head.settings.questions),
    )


def _question(head: Head, question: str) -> QuestionReport:
    at = head.settings.questions.index(question)
    rows = head.history.rows()
    rows = rows[rows["lower"][:, at] != UNANSWERED]
    accuracy, log_loss, decisive = head.prequential_of(question)
    found = _agreement(head, rows, at)
    halves = {name: _halves(rows["hit"][rows["recruiter"] == i, at]) for i, name in enumerate(head.history.names)}
    return QuestionReport(
        question=question,
        judgments=len(rows),
        accuracy=accuracy,
        log_loss=log_loss,
        decisive=decisive,
        cut_points=head.tastes[question].cut_points,
        calibration=_calibration(head, at),
        alpha=found.alpha,
        same_choice=found.same_choice,
        repeats=found.repeats,
        recruiters=tuple(
            RecruiterLine(
                name=each.name,
                kind=each.kind.value,
                judgments=each.judgments,
                lapse=each.fitted.lapse,
                pull=each.fitted.pull,
                scale=each.fitted.scale,
                evidence=each.evidence,
                agrees=found.by_recruiter.get(each.name, (None, 0))[0],
                compared=found.by_recruiter.get(each.name, (None, 0))[1],
                earlier=halves[each.name][0],
                later=halves[each.name][1],
            )
            for each in recruiter_reports(head, question)
        ),
    )


def _halves(hits: np.ndarray) -> tuple[float | None, float | None]:
    """The share of right predictions in the first and the second half of one recruiter's answers; ties, NaN, are left out."""
    decisive = hits[~np.isnan(hits)]
    middle = len(decisive) // 2
    if middle < LEAST_OF_HALF:
        return None, None
    return float(decisive[:middle].mean()), float(decisive[middle:].mean())


def _agreement(head: Head, rows: np.ndarray, at: int) -> Agreement:
    """Of answers to the same pair, oriented towards A; an answer without a strength counts as the middle of its levels."""
    rows = rows[rows["pair"] != 0]
    middle = np.trunc((rows["lower"][:, at].astype(int) + rows["upper"][:, at]) / 2).astype(int)
    level = np.where(rows["mirrored"], -middle, middle)
    return agreement(rows["pair"], [head.history.names[i] for i in rows["recruiter"]], level)


def _calibration(head: Head, at: int) -> tuple[CalibrationBin, ...]:
    rows = head.history.latest_decisive(head.settings.prequential_window, at)
    if not len(rows):
        return ()
    chosen = np.exp(-rows["loss"][:, at].astype(float))
    likelier, right = np.maximum(chosen, 1 - chosen), rows["hit"][:, at].astype(float)
    which = np.minimum(((likelier - 0.5) * 2 * BINS).astype(int), BINS - 1)
    return tuple(_bin(likelier[which == k], right[which == k]) for k in range(BINS) if (which == k).any())


def _bin(likelier: np.ndarray, right: np.ndarray) -> CalibrationBin:
    """With Wilson's (1927) interval."""
    n, share, z = len(right), float(right.mean()), 1.959963984540054
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return CalibrationBin(
        predicted=float(likelier.mean()),
        right=share,
        low=max(0.0, min(center - half, share)),
        high=min(1.0, max(center + half, share)),
        answers=n,
    )
