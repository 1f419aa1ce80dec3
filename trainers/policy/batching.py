"""TRL's DPO trainer on pre-tokenized rows, batched by length."""

from typing import Any

import numpy as np
from trl.trainer.dpo_trainer import DPOTrainer

from trainers.models.length_batches import LengthBatches


class TokenizedDPO(DPOTrainer):
    """TRL's DPO trainer on rows of ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``, ordered by :class:`LengthBatches`.

    TRL has no setting for either, so two private methods are overridden; training fails if TRL removes them.
    """

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBatches:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        columns = (rows["prompt_ids"], rows["chosen_ids"], rows["rejected_ids"])
        lengths = np.array([len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in zip(*columns, strict=True)])
        return LengthBatches(lengths, self.args.train_batch_size, self.args.data_seed or 0)
