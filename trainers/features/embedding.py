"""The interface of an embedder, so that tests and other embeddings can replace the real one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from storage.events import Message

if TYPE_CHECKING:
    import numpy as np


class Embedding(Protocol):
    """The interface of ``trainers.features.embedder.Embedder``.

    Attributes
    ----------
    name, hash : its identity
    dimension : components of a vector
    """

    name: str
    hash: str
    dimension: int

    def features(self, items: Sequence[tuple[Sequence[Message], str]]) -> "np.ndarray":
        """float32 ``(n, dimension)``: the features of each prompt with its reply."""
