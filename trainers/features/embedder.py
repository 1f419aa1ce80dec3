"""Features of a (prompt, reply) pair for the reward heads: sentence embeddings under a frozen whitening, and a few guards.

``phi(x, y) = P [e(x + y), e(y), e(x) * e(y)], log length, guards``, with e the encoder's unit vector of a text and P fitted without
labels on differences between replies to the same prompt. The processor's embed station and offline runs compute the vectors, which are
published on ``feedback.features``. ``trainers.features.fit`` fits another P.
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

FORMULATION = 1  # bump on every change that alters the features of the same texts
SHIPPED_WHITENING = Path(__file__).parent / "whitening" / "minilm.safetensors"
GUARD_SHARE = 0.3  # standard deviation of each guard; that of all whitened embeddings together is 1
FINGERPRINT_SHARE = 1e-3

Item = tuple[Sequence[Message], str]


class Embedder:
    """Computes the features of (prompt, reply) pairs.

    Attributes
    ----------
    name, hash : identity of the embedding; the hash covers encoder, whitening and everything else that decides the features, save rounding
    dimension : components of a feature vector
    guards : number of trailing components that are guards and fingerprint, not embedding
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
        """Load encoder and whitening; well under a second once torch is imported.

        Raises
        ------
        ModelNotFound
            The encoder or the whitening cannot be read.
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
        """phi(x, y), ``(n, dimension)`` float32. Rows of one call affect each other by rounding only; earlier calls have no effect."""
        if not items:
            return np.empty((0, self.dimension), np.float32)
        blocks, surface = raw_features(items, self._encoder, self._prompt_tokens)
        fingerprints = np.array([[FINGERPRINT_SHARE * fingerprint(reply)] for _, reply in items])
        parts = [blocks @ self._projection.T, surface * self._guard_scale, fingerprints]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")


def raw_features(items: Sequence[Item], encoder: Encoder, prompt_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Unprojected features: the blocks [e(x + y), e(y), e(x) * e(y)], ``(n, 3 width)``, and the guards, ``(n, 8)``.

    Prompts are truncated from the left to ``prompt_tokens``. Replies are never truncated: one beyond the encoder's limit is encoded in
    pieces, each after the prompt, and their vectors are averaged, weighted by length.
    """
    texts = ["\n".join(message.content for message in prompt) for prompt, _ in items]
    # tokenize no more characters than can be needed: a prompt may have a million
    prompt_ids = {text: tuple(encoder.tokens(text[-40 * prompt_tokens :])[-prompt_tokens:]) for text in set(texts)}
    reply_ids = {reply: encoder.tokens(reply) for _, reply in items}
    prompts = [encoder.sequence(prompt_ids[text]) for text in texts]
    replies = [[encoder.sequence(piece) for piece in _pieces(reply_ids[y], encoder.limit - 2)] for _, y in items]
    joint = [
        [encoder.sequence(prompt_ids[text], piece) for piece in _pieces(reply_ids[y], encoder.limit - 3 - prompt_tokens)]
        for text, (_, y) in zip(texts, items, strict=True)
    ]
    # no cache across calls: a vector's rounding depends on the batch it was computed in
    distinct = list({sequence for group in (*joint, *replies, prompts) for sequence in group})
    vectors = dict(zip(distinct, encoder.encode(distinct), strict=True))
    of_prompt = np.stack([vectors[sequence] for sequence in prompts])
    of_reply = np.stack([_average(pieces, vectors) for pieces in replies])
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
