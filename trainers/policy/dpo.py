"""Train a challenger by direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) with a LoRA adapter and an SFT term.

Rows come from a snapshot's training stratum or a preference file; the adapter goes to the artifact store. Every run starts from the base
model, which is also the reference; runs are never stacked.

The loss of a row, with the log-ratio h = beta (log pi(chosen) / ref(chosen) - log pi(rejected) / ref(rejected)) and the margin m of its
strength, is -log sigmoid(h - m) - w log pi(chosen). With label smoothing it is the unbiased estimate of Chowdhury et al. 2024
(arXiv:2403.00409), or the squared loss of IPO (Azar et al. 2023, arXiv:2310.12036).
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from trainers.data.preference import Preference
from trainers.policy.comparisons import admissible
from trainers.policy.fine_tuning import FineTuningSettings, Row, enough, fine_tune, prompt_room
from trainers.policy.training import CachePlace, Progress, Trained

if TYPE_CHECKING:
    from trainers.models.policy import Policy

Margin = Annotated[float, Field(ge=0, allow_inf_nan=False)]
METRICS = {"loss": "loss", "rewards/margins": "reward_margin", "rewards/accuracies": "reward_accuracy"}


class DPOSettings(FineTuningSettings):
    """Hyperparameters of DPO training.

    Attributes
    ----------
    beta : strength of the KL penalty towards the reference
    loss : ``sigmoid`` or ``ipo``
    label_smoothing : share of judgments that are expected to be flipped
    margins : by how much, in log-odds, a negligible, slight, clear and significant preference has to win; ``sigmoid`` only
    sft_weight : weight of the chosen reply's negative log-likelihood in the loss; it keeps copied facts correct
    half_life_days : a judgment this much older than the newest is kept with probability 1/2, twice as old with 1/4, ...; None keeps all
    """

    beta: Annotated[float, Field(gt=0)] = 0.3
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    margins: tuple[Margin, Margin, Margin, Margin] = (0.0, 0.0, 0.0, 0.0)
    sft_weight: Annotated[float, Field(ge=0)] = 1.0
    half_life_days: Annotated[float, Field(gt=0)] | None = 180

    @model_validator(mode="after")
    def _margins_and_smoothing_are_of_the_sigmoid(self) -> "DPOSettings":
        if self.loss == "ipo" and (self.label_smoothing or any(self.margins)):
            raise ValueError("label_smoothing and margins need loss = 'sigmoid'")
        return self


def train_dpo(
    base: str, rows: Iterable[Preference], settings: DPOSettings, output: Path, progress: Progress, cache: CachePlace | None = None
) -> Trained:
    """Train an adapter on ``base`` and write it to ``output/policy``; an interrupted training resumes from its last checkpoint.

    Parameters
    ----------
    base : the base model, as accepted by :func:`trainers.models.references.resolve_model`; also the reference
    rows : decisive comparisons, filtered by :func:`admissible`
    output : a folder for this training only; its checkpoints are removed at the end
    progress : called with step, steps and the metrics ``loss``, ``reward_margin`` and ``reward_accuracy``
    cache : of the reference's log-probabilities

    Raises
    ------
    DataRefused
        Fewer rows are left than ``settings.least_rows``.
    ModelNotFound
        ``base`` does not exist.
    """
    rows = list(rows)
    selected, equal = admissible(rows, settings.half_life_days), sum(row.chosen == row.rejected for row in rows)
    enough(selected, f"decisive comparisons{f' (without {equal} of two equal replies)' if equal else ''}", settings)

    from trl.trainer.dpo_config import DPOConfig

    from trainers.policy.trl_trainers import TokenizedDPO

    def tokenized(row: Preference, policy: "Policy") -> Row | None:
        return _tokenized(row, policy, settings)

    losses = {("robust" if settings.label_smoothing else settings.loss): 1.0} | (
        {"sft": settings.sft_weight} if settings.sft_weight else {}
    )
    return fine_tune(
        base,
        sorted(selected, key=_characters),  # less padding in the reference pass
        tokenized,
        partial(TokenizedDPO, cache=cache),
        DPOConfig,
        METRICS,
        settings,
        output,
        progress,
        beta=settings.beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        label_smoothing=settings.label_smoothing,
        precompute_ref_log_probs=True,
    )


def _characters(row: Preference) -> int:
    return sum(len(message.content) for message in row.prompt) + max(len(row.chosen), len(row.rejected))


def _tokenized(row: Preference, policy: "Policy", settings: DPOSettings) -> Row | None:
    """The row as token ids, without the oldest turns of a prompt that is too long; None if a reply alone is too long."""
    chosen, rejected = policy.chat.reply_ids(row.chosen), policy.chat.reply_ids(row.rejected)
    room = prompt_room(max(len(chosen), len(rejected)), policy, settings)
    if room is None:
        return None
    margin = settings.margins[row.strength - 1] if row.strength is not None else 0.0
    return {
        "prompt_ids": policy.chat.fitted_ids(row.prompt, room),
        "chosen_ids": chosen,
        "rejected_ids": rejected,
        "margin": margin / settings.beta,
    }
