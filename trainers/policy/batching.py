"""TRL's DPO trainer on rows that are tokenized already, in batches of rows that are alike in length.

Prompts of one and of three turns differ threefold in length, and padding costs as much as text.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler
from trl.trainer.dpo_trainer import DPOTrainer


class LengthBatches(Sampler[int]):
    """Every row once an epoch: in random order, sorted by length within stretches of ``STRETCH`` batches, the batches shuffled again.

    The order is a function of seed and epoch alone, so that a training that is taken up in the middle of an epoch goes on with the rows
    that it had not seen. (transformers' own sampler draws from the global random stream, which a resumed process does not have.)
    """

    STRETCH = 8

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
        size = self._batch * self.STRETCH
        stretches = [order[i : i + size] for i in range(0, len(order), size)]
        ranked = np.concatenate([stretch[np.argsort(self._lengths[stretch], kind="stable")] for stretch in stretches])
        batches = [ranked[i : i + self._batch] for i in range(0, len(ranked), self._batch)]
        full = [batch for batch in batches if len(batch) == self._batch]
        short = [batch for batch in batches if len(batch) < self._batch]  # the sampler above cuts by position: it has to stand last
        yield from (int(i) for k in rng.permutation(len(full)) for i in full[k])
        yield from (int(i) for batch in short for i in batch)


class TokenizedDPO(DPOTrainer):
    """TRL's trainer on rows of ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``, with :class:`LengthBatches` in place of a random order.

    TRL has no setting for either, so two of its private methods are overridden; training fails if they go away.
    """

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBatches:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        columns = (rows["prompt_ids"], rows["chosen_ids"], rows["rejected_ids"])
        lengths = np.array([len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in zip(*columns, strict=True)])
        return LengthBatches(lengths, self.args.train_batch_size, self.args.data_seed or 0)
