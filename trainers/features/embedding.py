"""The interface of an embedder, so that tests and other embeddings can replace the real one; and one that remembers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from storage.events import Message

if TYPE_CHECKING:
    import numpy as np

Item = tuple[Sequence[Message], str]  # a prompt and a reply to it


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

    def features(self, items: Sequence[Item]) -> "np.ndarray":
        """float32 ``(n, dimension)``: the features of each prompt with its reply."""


class Remembering:
    """An embedding that computes the features of each item once, for several trainings on the same texts."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self.name, self.hash, self.dimension = embedding.name, embedding.hash, embedding.dimension
        self._known: dict[tuple[tuple[Message, ...], str], np.ndarray] = {}

    def features(self, items: Sequence[Item]) -> "np.ndarray":
        """See :class:`Embedding`."""
        import numpy as np

        keys = [(tuple(prompt), reply) for prompt, reply in items]
        missing = list(dict.fromkeys(key for key in keys if key not in self._known))
        self._known |= zip(missing, self._embedding.features(missing), strict=True)
        return np.stack([self._known[key] for key in keys]) if keys else np.empty((0, self.dimension), np.float32)
