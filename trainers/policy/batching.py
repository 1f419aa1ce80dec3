"""TRL's DPO trainer on pre-tokenized rows, batched by length.

Prompts of one and of three turns differ threefold in length, and padding costs as much compute as text.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler
from trl.trainer.dpo_trainer import DPOTrainer


class LengthBatches(Sampler[int]):
    """Visits every row once per epoch: shuffled, sorted by length within blocks of ``BLOCK_BATCHES`` batches, batches shuffled again.

    The order depends only on seed and epoch, so training resumed in the middle of an epoch continues with the rows it has not seen.
    (transformers' own sampler draws from the global random state, which a resumed process does not have.)
    """

    BLOCK_BATCHES = 8

    def __init__(self, lengths: np.ndarray, batch: int, seed: int) -> None:
        self._lengths, self._batch, self._seed, self._epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate at the start of each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = rng.permutation(len(self._lengths))
        size = self._batch * self.BLOCK_BATCHES
        blocks = [order[i : i + size] for i in range(0, len(order), size)]
        ranked = np.concatenate([block[np.argsort(self._lengths[block], kind="stable")] for block in blocks])
        batches = [ranked[i : i + self._batch] for i in range(0, len(ranked), self._batch)]
        full = [batch for batch in batches if len(batch) == self._batch]
        short = [batch for batch in batches if len(batch) < self._batch]  # the batch sampler slices by position, so it has to come last
        yield from (int(i) for k in rng.permutation(len(full)) for i in full[k])
        yield from (int(i) for batch in short for i in batch)


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
