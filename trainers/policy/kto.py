"""Train a challenger on single replies that people called good or not, with a LoRA adapter: KTO (Ethayarajh et al. 2024, arXiv:2402.01306).

Thumbs and the replies of pairs judged "neither" are such opinions. A reply's value is compared with the mean divergence from the reference,
which TRL estimates from replies to other prompts; each row brings the reply of another one for it.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from storage.errors import DataRefused
from trainers.data.rating import Rating
from trainers.policy.fine_tuning import FineTuningSettings, Row, enough, fine_tune, prompt_room
from trainers.policy.training import CachePlace, Progress, Trained

if TYPE_CHECKING:
    from trainers.models.policy import Policy

METRICS = {
    "loss": "loss",
    "kl": "kl",
    "rewards/chosen": "reward_good",
    "rewards/rejected": "reward_bad",
    "rewards/margins": "reward_margin",
}


class KTOSettings(FineTuningSettings):
    """Hyperparameters of KTO training.

    Attributes
    ----------
    beta : strength of the KL penalty towards the reference
    good_weight, bad_weight : weights of the two losses; None balances them by the numbers of good and bad replies
    """

    beta: Annotated[float, Field(gt=0)] = 0.3
    good_weight: Annotated[float, Field(gt=0)] | None = None
    bad_weight: Annotated[float, Field(gt=0)] | None = None
    batch: Annotated[int, Field(ge=2)] = 8


def train_kto(
    base: str, ratings: Sequence[Rating], settings: KTOSettings, output: Path, progress: Progress, cache: CachePlace | None = None
) -> Trained:
    """Train an adapter on ``base`` and write it to ``output/policy``; an interrupted training resumes from its last checkpoint.

    Parameters
    ----------
    base : the base model, as accepted by :func:`trainers.models.references.resolve_model`; also the reference
    ratings : good and bad replies; the last opinion of a recruiter on a reply holds
    output : a folder for this training only; its checkpoints are removed at the end
    progress : called with step, steps and metrics
    cache : of the reference's log-probabilities

    Raises
    ------
    DataRefused
        Fewer rows are left than ``settings.least_rows``, or all are good, or all bad.
    ModelNotFound
        ``base`` does not exist.
    """
    latest = {(each.prompt, each.reply, each.recruiter): each for each in ratings}
    rows = list(latest.values())
    enough(rows, "ratings of single replies", settings)
    good = sum(each.good for each in rows)
    if good in (0, len(rows)):
        raise DataRefused(f"all {len(rows)} replies are {'good' if good else 'bad'}: KTO needs both kinds")

    from trl.trainer.kto_config import KTOConfig

    from trainers.policy.trl_trainers import TokenizedKTO

    others = np.random.default_rng(settings.seed).permutation(len(rows)).tolist()
    other = {id(rows[one]): rows[following] for one, following in zip(others, [*others[1:], others[0]], strict=True)}

    def tokenized(row: Rating, policy: "Policy") -> Row | None:
        reply, elsewhere = policy.chat.reply_ids(row.reply), policy.chat.reply_ids(other[id(row)].reply)
        room = prompt_room(max(len(reply), len(elsewhere)), policy, settings)
        if room is None:
            return None
        prompt = policy.chat.fitted_ids(row.prompt, room)
        return {"prompt_ids": prompt, "completion_ids": reply, "KL_completion_ids": elsewhere, "label": row.good}

    return fine_tune(
        base,
        rows,
        tokenized,
        partial(TokenizedKTO, cache=cache),
        KTOConfig,
        METRICS,
        settings,
        output,
        progress,
        beta=settings.beta,
        # the rarer kind weighs as much as the other in all (arXiv:2402.01306, section 4.3)
        desirable_weight=settings.good_weight if settings.good_weight is not None else max(1.0, (len(rows) - good) / good),
        undesirable_weight=settings.bad_weight if settings.bad_weight is not None else max(1.0, good / (len(rows) - good)),
        precompute_ref_log_probs=True,
    )
