"""Train a transformer reward model with TRL's RewardTrainer, on pairs with strengths and ties.

The loss of a pair with score difference d, margin m and target y, 1 where the first is preferred and 1/2 for a tie, is
``-(y log sigmoid(d - m) + (1 - y) log sigmoid(-d - m))``: Bradley-Terry with the margins of Touvron et al. (2023), arXiv:2307.09288, and
ties as half a win. After training, :mod:`trainers.reward.transformer.calibration` fits the scale on prompts that were left out.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import DataRefused
from storage.settings import Settings
from trainers.data.preference import Preference
from trainers.models.checkpoints import last_checkpoint
from trainers.models.precision import precision_of
from trainers.models.trl_arguments import trl_arguments
from trainers.reward.reward import Progress, no_progress
from trainers.reward.transformer.calibration import Calibration
from trainers.reward.transformer.inputs import Inputs, inputs_for
from trainers.reward.transformer.model import TransformerCard, TransformerReward
from trainers.reward.transformer.settings import TransformerSettings

if TYPE_CHECKING:
    import torch

Row = dict[str, Any]


def pair_loss(difference: "torch.Tensor", target: "torch.Tensor", margin: "torch.Tensor") -> "torch.Tensor":
    """The loss of each pair, ``(n,)``; see the module's formula."""
    from torch.nn.functional import logsigmoid

    return -(target * logsigmoid(difference - margin) + (1 - target) * logsigmoid(-difference - margin))


class TransformerFitter:
    """Trains transformers with the section ``[transformer]``."""

    def __init__(self, settings: Settings, progress: Progress = no_progress) -> None:
        self._settings, self._progress = settings.section("transformer", TransformerSettings), progress

    def fit(self, preferences: Sequence[Preference], folder: Path) -> TransformerReward:
        """See :class:`trainers.reward.reward.Fitter`; an interrupted training resumes from its checkpoint under ``folder``."""
        return train_transformer(preferences, self._settings, folder, self._progress)


def train_transformer(
    preferences: Sequence[Preference], settings: TransformerSettings, folder: Path, progress: Progress = no_progress
) -> TransformerReward:
    """Train on all of these preferences but those left out for calibration.

    Raises
    ------
    DataRefused
        There are fewer than ``settings.least_rows``, or too few whose replies fit into ``settings.max_length`` tokens.
    ModelNotFound
        The model does not exist.
    """
    from transformers import PrinterCallback, set_seed

    from trainers.reward.transformer.load import load_scorer, load_scorer_tokenizer, scorer_place

    place = scorer_place(settings.model)
    tokenizer = load_scorer_tokenizer(place)
    window = min(settings.max_length, tokenizer.model_max_length)
    inputs = inputs_for(tokenizer, window, place)
    aside = [each for each in preferences if _left_out(each, settings.calibration_share)]
    kept = [each for each in preferences if not _left_out(each, settings.calibration_share)]
    encoded = {id(each): row for each in preferences if (row := _row(each, inputs, settings)) is not None}
    rows = [encoded[id(each)] for each in kept if id(each) in encoded]
    too_long = len(preferences) - len(encoded)
    if len(rows) < settings.least_rows:
        limit = (
            f"max_length = {window} tokens: raise it in [transformer]" if window == settings.max_length else f"the model's {window} tokens"
        )
        raise DataRefused(
            f"{len(rows)} preferences to train on, of {len(preferences)}; at least {settings.least_rows} are needed"
            + (f"; {too_long} do not fit into {limit}" if too_long else "")
        )
    set_seed(settings.seed)  # of the new output layer
    checkpoints = folder / "checkpoints"
    trainer = _trainer(load_scorer(place), tokenizer, rows, settings, checkpoints, progress)
    trainer.remove_callback(PrinterCallback)  # it prints every step's metrics
    trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    shutil.rmtree(checkpoints, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    model = model.merge_and_unload() if settings.lora_rank else model
    about = {"model": settings.model or "all-MiniLM-L6-v2", "rows": len(rows), "too_long": too_long, "steps": trainer.state.global_step}
    found = TransformerReward(model, tokenizer, TransformerCard(max_length=window, about=about), place)
    return _calibrated(found, [each for each in aside if id(each) in encoded], place)


def _calibrated(found: TransformerReward, aside: Sequence[Preference], place: str) -> TransformerReward:
    prompts, a, b = [each.prompt for each in aside], [each.a for each in aside], [each.b for each in aside]
    logits = found.logits([*zip(prompts, a, strict=True), *zip(prompts, b, strict=True)])
    calibration = Calibration.fit(logits[: len(aside)] - logits[len(aside) :], [each.overall for each in aside])
    return TransformerReward(found.model, found.tokenizer, found.card.model_copy(update={"calibration": calibration}), place)


def _left_out(preference: Preference, share: float) -> bool:
    """Whether the preference's conversation is left out for calibration."""
    return int.from_bytes(hashlib.sha256(f"calibration {preference.conversation_id}".encode()).digest()[:8], "big") / 2**64 < share


def _row(preference: Preference, inputs: Inputs, settings: TransformerSettings) -> Row | None:
    """Token ids with target and margin, the chosen reply first; of a tie, the one whose text comes first."""
    tie = preference.choice == "tie"
    first, second = sorted((preference.a, preference.b)) if tie else (preference.chosen, preference.rejected)
    chosen, rejected = inputs.ids(preference.prompt, first), inputs.ids(preference.prompt, second)
    if chosen is None or rejected is None:
        return None
    strength = None if tie else preference.strength
    margin = 0.0 if strength is None else settings.margins[strength - 1]
    return {"chosen_ids": chosen, "rejected_ids": rejected, "margin": margin, "target": 0.5 if tie else 1.0}


def _trainer(model: Any, tokenizer: Any, rows: Sequence[Row], settings: TransformerSettings, folder: Path, progress: Progress) -> Any:
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig, TaskType
    from trl.trainer.reward_config import RewardConfig

    from trainers.policy.workarounds import tqdm_disabled
    from trainers.reward.transformer.trl_trainer import PairCollator, PairTrainer, reporter

    disable_progress_bars()
    lora = (
        LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules="all-linear", task_type=TaskType.SEQ_CLS)
        if settings.lora_rank
        else None
    )
    with tqdm_disabled():
        return PairTrainer(
            model=model,
            args=RewardConfig(
                **trl_arguments(settings, folder, len(rows), precision_of(settings.precision)),
                lr_scheduler_type="linear",
                weight_decay=settings.weight_decay,
                remove_unused_columns=False,  # TRL does not know our column "target"
            ),
            data_collator=PairCollator(pad_token_id=tokenizer.pad_token_id),
            train_dataset=Dataset.from_list(list(rows)),
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=[reporter(progress)],
        )
