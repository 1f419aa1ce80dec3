"""What others need of an embedder, so that tests and other embeddings can take its place."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from storage.events import Message

if TYPE_CHECKING:
    import numpy as np


class Embedding(Protocol):
    """As ``trainers.features.embedder.Embedder`` has it.

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
