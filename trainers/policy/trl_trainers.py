"""TRL's trainers on pre-tokenized rows, batched by length.

TRL has no setting for either, so private methods are overridden; training fails if TRL removes them.
"""

from typing import Any

import numpy as np
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.sft_trainer import SFTTrainer

from trainers.models.length_batches import LengthBatches


class _Tokenized:
    """Takes rows as they are, and orders them by :class:`LengthBatches`."""

    train_dataset: Any
    args: Any

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBatches:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        return LengthBatches(self._lengths(rows), self.args.train_batch_size, self.args.data_seed or 0)

    def _lengths(self, rows: Any) -> np.ndarray:
        raise NotImplementedError


class TokenizedSFT(_Tokenized, SFTTrainer):
    """Rows of ``input_ids`` and ``labels``."""

    def _lengths(self, rows: Any) -> np.ndarray:
        return np.array([len(ids) for ids in rows["input_ids"]])


class TokenizedDPO(_Tokenized, DPOTrainer):
    """Rows of ``prompt_ids``, ``chosen_ids``, ``rejected_ids`` and ``margin``, in units of the log-ratio.

    A margin is subtracted from the difference of the log-ratios, by adding it to the reference's log-probability of the chosen reply.
    """

    def _precompute_ref_logps(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        margins = np.array(dataset["margin"], np.float32)
        found = super()._precompute_ref_logps(dataset, *args, **kwargs)
        if not margins.any():
            return found
        shifted = (np.array(found["ref_chosen_logps"], np.float32) + margins).tolist()
        return found.remove_columns("ref_chosen_logps").add_column("ref_chosen_logps", shifted)

    def _lengths(self, rows: Any) -> np.ndarray:
        columns = (rows["prompt_ids"], rows["chosen_ids"], rows["rejected_ids"])
        return np.array([len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in zip(*columns, strict=True)])


class TokenizedKTO(_Tokenized, KTOTrainer):
    """Rows of ``prompt_ids``, ``completion_ids``, ``KL_completion_ids`` and ``label``."""

    def _lengths(self, rows: Any) -> np.ndarray:
        return np.array([len(prompt) + len(reply) for prompt, reply in zip(rows["prompt_ids"], rows["completion_ids"], strict=True)])
