"""What the reward heads see of a reply to a prompt: sentence embeddings under a frozen whitening, and a few guards.

``phi(x, y) = P [e(x + y), e(y), e(x) * e(y)], log length, guards``, with e the encoder's unit vector of a text and P fitted without
labels on differences between replies to one prompt. Vectors are made by the processor's embed station and by offline runs, and travel in
``feedback.features``. ``trainers.features.fit`` fits another P.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
from safetensors import SafetensorError, safe_open

from storage.errors import ModelNotFound
from storage.events import Message
from trainers.features.encoder import Encoder, shipped_folder
from trainers.features.guards import GUARDS, fingerprint, guards
from trainers.features.settings import FeatureSettings

FORMULATION = 1  # raise it with every change that gives the same texts other features
SHIPPED_WHITENING = Path(__file__).parent / "whitening" / "minilm.safetensors"
GUARD_SHARE = 0.3  # each guard's, where the whitened embeddings together have 1
FINGERPRINT_SHARE = 1e-3

Item = tuple[Sequence[Message], str]


class Embedder:
    """Turns (prompt, reply) into features.

    Attributes
    ----------
    name, hash : the embedding's identity; the hash covers encoder, whitening and whatever else decides the features but rounding
    dimension : components of a feature vector
    guards : how many of the last ones are no embedding but guards and fingerprint
    """

    def __init__(
        self, settings: FeatureSettings, encoder: Encoder, projection: np.ndarray, guard_scale: np.ndarray, whitening: str
    ) -> None:
        self._encoder = encoder
        self._projection = projection
        self._guard_scale = guard_scale
        self._prompt_tokens = settings.prompt_tokens
        self.name = f"{(settings.encoder or Path('all-MiniLM-L6-v2')).name}-whitened"
        self.guards = len(GUARDS) + 1
        self.dimension = len(projection) + self.guards
        parts = [FORMULATION, encoder.hash, whitening, settings.prompt_tokens, GUARD_SHARE]
        self.hash = hashlib.sha256(orjson.dumps(parts)).hexdigest()

    @classmethod
    def load(cls, settings: FeatureSettings) -> "Embedder":
        """Load encoder and whitening, in well under a second after torch.

        Raises
        ------
        ModelNotFound
            One of the two cannot be read.
        """
        import torch

        torch.set_num_threads(settings.threads)
        encoder = Encoder(settings.encoder or shipped_folder(), settings.arithmetic)
        path = settings.whitening or SHIPPED_WHITENING
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            with safe_open(path, framework="numpy") as file:
                projection, guard_scale = file.get_tensor("projection").astype(np.float32), file.get_tensor("guard_scale")
        except (OSError, SafetensorError) as error:
            raise ModelNotFound(
                f"{path}: no whitening can be read there ({error}); fit one with `python -m trainers.features.fit`"
            ) from error
        if projection.shape[1] != 3 * encoder.width or guard_scale.shape != (len(GUARDS),):
            raise ModelNotFound(f"{path}: fitted for another encoder or guards; fit it with `python -m trainers.features.fit`")
        return cls(settings, encoder, projection, guard_scale, digest)

    def features(self, items: Sequence[Item]) -> np.ndarray:
        """phi(x, y), ``(n, dimension)`` float32. A row depends on the others of the call by rounding alone, and on nothing before it."""
        if not items:
            return np.empty((0, self.dimension), np.float32)
        blocks, surface = raw_features(items, self._encoder, self._prompt_tokens)
        marks = np.array([[FINGERPRINT_SHARE * fingerprint(reply)] for _, reply in items])
        parts = [blocks @ self._projection.T, surface * self._guard_scale, marks]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")


def raw_features(items: Sequence[Item], encoder: Encoder, prompt_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Before P: the blocks [e(x + y), e(y), e(x) * e(y)], ``(n, 3 width)``, and the guards, ``(n, 8)``.

    The prompt is cut from the left to ``prompt_tokens``; a reply is never cut: beyond the encoder's limit it is read in pieces, each behind
    the prompt, and their vectors are averaged by length.
    """
    texts = ["\n".join(message.content for message in prompt) for prompt, _ in items]
    # No more characters than could be needed: a prompt may have a million.
    heads = {text: tuple(encoder.tokens(text[-40 * prompt_tokens :])[-prompt_tokens:]) for text in set(texts)}
    replies = {reply: encoder.tokens(reply) for _, reply in items}
    asked = [encoder.sequence(heads[text]) for text in texts]
    alone = [[encoder.sequence(piece) for piece in _pieces(replies[y], encoder.limit - 2)] for _, y in items]
    joint = [
        [encoder.sequence(heads[text], piece) for piece in _pieces(replies[y], encoder.limit - 3 - prompt_tokens)]
        for text, (_, y) in zip(texts, items, strict=True)
    ]
    # No vector is kept for the next call: what it is rounded to depends on what was computed with it.
    wanted = list({sequence for group in (*joint, *alone, asked) for sequence in group})
    vectors = dict(zip(wanted, encoder.encode(wanted), strict=True))
    of_prompt = np.stack([vectors[sequence] for sequence in asked])
    of_reply = np.stack([_average(pieces, vectors) for pieces in alone])
    of_both = np.stack([_average(pieces, vectors) for pieces in joint])
    surface = np.stack([guards(text, reply) for text, (_, reply) in zip(texts, items, strict=True)])
    return np.concatenate([of_both, of_reply, of_prompt * of_reply], axis=1), surface


def _pieces(ids: list[int], size: int) -> list[list[int]]:
    return [ids[i : i + size] for i in range(0, len(ids), size)] or [[]]


def _average(pieces: list[tuple[int, ...]], vectors: dict[tuple[int, ...], np.ndarray]) -> np.ndarray:
    if len(pieces) == 1:
        return vectors[pieces[0]]
    total = np.sum([len(piece) * vectors[piece] for piece in pieces], axis=0)
    return np.asarray(total / np.linalg.norm(total))
