"""How well does the reward agree with recruiters' choices that it was not trained on?

The reward is the one that ranks and trains: the head of the training stratum, or a reward model that is named. Accuracy among humans
bounds it: where recruiters disagree with each other, no reward can agree with all of them.
"""

from typing import TYPE_CHECKING

import numpy as np

from trainers.audits.statistics.intervals import Interval
from trainers.evaluation.measure import Measure, Measured, Names, Rows, with_bounds

if TYPE_CHECKING:
    from trainers.evaluation.subject import Subject


class RewardAlignment(Measured):
    """On held-out judgments with a choice, with 95% intervals from a bootstrap over conversations.

    Attributes
    ----------
    accuracy : share of judgments whose chosen reply has the higher reward; 0.5 is a coin
    auc : area under the ROC curve of the difference in reward, see ``trainers.reward.measures``
    longer : accuracy of always choosing the longer reply, which a reward should beat
    by_recruiter : accuracy with the choices of single recruiters
    """

    judgments: int
    conversations: int
    accuracy: Interval
    auc: Interval
    longer: Interval
    by_recruiter: dict[str, float]


def measure(subject: "Subject") -> RewardAlignment | None:
    """None without a held-out choice, or without a reward."""
    from trainers.reward import measures

    held_out = [each for each in subject.data.preferences if each.stratum == "evaluation" and each.choice in ("A", "B")]
    if not held_out or not subject.has_reward:
        return None
    scores = subject.trial.reward_scores([(each.prompt, text) for each in held_out for text in (each.chosen, each.rejected)])
    margins = scores[::2] - scores[1::2]
    longer = np.array([float(len(each.chosen) - len(each.rejected)) for each in held_out])
    conversations = np.array([each.conversation_id for each in held_out])
    draws, seed = subject.settings.resamples, subject.settings.seed

    def interval(of: "np.ndarray", auc: bool = False) -> Interval:
        found = measures.with_interval(measures.auc if auc else measures.accuracy, of, conversations, draws=draws, seed=seed)
        return Interval(figure=found.value, low=found.low, high=found.high, n=len(of))

    recruiters = np.array([each.recruiter or "" for each in held_out])
    return RewardAlignment(
        judgments=len(held_out),
        conversations=len(set(conversations)),
        accuracy=interval(margins),
        auc=interval(margins, auc=True),
        longer=interval(longer),
        by_recruiter={str(name): measures.accuracy(margins[recruiters == name]) for name in np.unique(recruiters) if name},
    )


def rows(found: RewardAlignment, names: Names) -> Rows:
    return [
        (
            "Reward agrees with held-out choices",
            f"{with_bounds(found.accuracy)}, AUC {with_bounds(found.auc)}, from {found.judgments} judgments",
        ),
        ("Always the longer reply", with_bounds(found.longer)),
    ]


MEASURE = Measure("reward_alignment", RewardAlignment, measure, rows)
