"""TRL's RewardTrainer on rows with target and margin, batched by length."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback
from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer

from trainers.models.length_batches import LengthBatches
from trainers.policy.divergence import check_step
from trainers.reward.transformer.training import pair_loss


@dataclass
class PairCollator(DataCollatorForPreference):
    """TRL's collator, with each row's target."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The first replies, then the second ones, padded on the right; ``margin`` and ``target`` have one value a row."""
        return {**super().torch_call(examples), "target": torch.tensor([example["target"] for example in examples], dtype=torch.float)}


class PairTrainer(RewardTrainer):
    """TRL's RewardTrainer with :func:`pair_loss`, which has ties, on rows of token ids.

    TRL has no setting for the order of the rows, so a private method is overridden; training fails if TRL removes it.
    """

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBatches:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = np.array([max(len(first), len(second)) for first, second in zip(rows["chosen_ids"], rows["rejected_ids"], strict=True)])
        return LengthBatches(lengths, self.args.train_batch_size, self.args.data_seed or 0)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The mean of :func:`pair_loss` over the batch."""
        target, margin = inputs.pop("target"), inputs.pop("margin")
        outputs = model(**inputs, use_cache=False)
        first, second = torch.chunk(outputs.logits.squeeze(-1).float(), chunks=2)
        difference = first - second
        loss = pair_loss(difference, target, margin).mean()
        with torch.no_grad():
            if (decisive := target == 1).any():
                self._metrics["train"]["accuracy"].append((difference[decisive] > 0).float().mean().item())
        return (loss, outputs) if return_outputs else loss


def reporter(progress: Callable[[int, int, Mapping[str, float]], None]) -> TrainerCallback:
    """A callback that reports loss and accuracy of each step."""

    class Reporter(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **kwargs: Any) -> None:
            check_step(state.global_step, state.max_steps, logs or {}, args.learning_rate)
            if metrics := {name: float(logs[name]) for name in ("loss", "accuracy") if logs and name in logs}:
                progress(state.global_step, state.max_steps, metrics)

    return Reporter()
