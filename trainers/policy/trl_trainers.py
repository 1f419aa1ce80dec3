"""TRL's trainers on pre-tokenized rows, batched by length, with log-probabilities of the reference that other runs have computed.

The reference sees one row at a time: its numbers do not depend on which rows are new, so a training repeats to the last bit.

TRL has no setting for these, so private methods are overridden; training fails if TRL removes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.sft_trainer import SFTTrainer

from trainers.models.length_batches import LengthBatches
from trainers.policy.reference_cache import ReferenceCache, reference_hash
from trainers.policy.shared_prompts import SharedPrompts
from trainers.policy.training import CachePlace


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


class _Referenced(_Tokenized):
    """Computes the reference's log-probabilities of those rows only that :class:`ReferenceCache` does not have.

    ``depends_on`` names the columns of token ids that decide each column of log-probabilities.
    """

    depends_on: Mapping[str, Sequence[str]]
    model: Any
    accelerator: Any

    def __init__(self, cache: CachePlace | None = None, **options: Any) -> None:
        self._cache = cache
        super().__init__(**options)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        compute: Any = super()._precompute_ref_logps  # type: ignore[misc]
        cache = ReferenceCache(reference_hash(self.model, str(self.accelerator.mixed_precision)), self._cache)
        keys = {
            found: [cache.key_of(found, *ids) for ids in zip(*(dataset[column] for column in columns), strict=True)]
            for found, columns in self.depends_on.items()
        }
        shared: list[Any] = [{found: cache.get(each) for found, each in keys.items()}]
        broadcast_object_list(shared)  # all processes compute the same rows
        known: dict[str, list[float | None]] = shared[0]
        missing = [i for i, row in enumerate(zip(*known.values(), strict=True)) if None in row]
        if missing:
            rows = compute(dataset.select(missing), name, 1)
            computed = {found: dict(zip(missing, np.array(rows[found], np.float32).tolist(), strict=True)) for found in known}
            if self.accelerator.is_main_process:
                cache.add({keys[found][i]: value for found, values in computed.items() for i, value in values.items()})
            known = {found: [computed[found].get(i, value) for i, value in enumerate(values)] for found, values in known.items()}
        for found, values in known.items():
            dataset = dataset.add_column(found, np.array(values, np.float32))
        return dataset


class TokenizedDPO(_Referenced, DPOTrainer):
    """Rows of ``prompt_ids``, ``chosen_ids``, ``rejected_ids`` and ``margin``, in units of the log-ratio. A prompt is computed once.

    A margin is subtracted from the difference of the log-ratios, by adding it to the reference's log-probability of the chosen reply.
    """

    # the two replies are computed in one row, and the last bits of one depend on where the other ends
    depends_on: Mapping[str, Sequence[str]] = dict.fromkeys(
        ("ref_chosen_logps", "ref_rejected_logps"), ("prompt_ids", "chosen_ids", "rejected_ids")
    )

    def __init__(self, model: Any, **options: Any) -> None:
        SharedPrompts(model)
        super().__init__(model=model, **options)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        margins = np.array(dataset["margin"], np.float32)
        found = super()._precompute_ref_logps(dataset, name, batch_size)
        if not margins.any():
            return found
        shifted = np.array(found["ref_chosen_logps"], np.float32) + margins
        return found.remove_columns("ref_chosen_logps").add_column("ref_chosen_logps", shifted)

    def _lengths(self, rows: Any) -> np.ndarray:
        columns = (rows["prompt_ids"], rows["chosen_ids"], rows["rejected_ids"])
        return np.array([len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in zip(*columns, strict=True)])


class TokenizedKTO(_Referenced, KTOTrainer):
    """Rows of ``prompt_ids``, ``completion_ids``, ``KL_completion_ids`` and ``label``."""

    depends_on: Mapping[str, Sequence[str]] = {
        "ref_logps": ("prompt_ids", "completion_ids"),
        "ref_KL_logps": ("prompt_ids", "KL_completion_ids"),
    }

    def _lengths(self, rows: Any) -> np.ndarray:
        return np.array([len(prompt) + len(reply) for prompt, reply in zip(rows["prompt_ids"], rows["completion_ids"], strict=True)])
