"""Batches of rows of similar length: prompts of one and of three turns differ threefold, and padding costs as much compute as text."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


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
