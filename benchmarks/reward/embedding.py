"""How fast is the encoder? Texts a second against ``SentenceTransformer.encode`` at its best batch size, one thread each, same texts."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.figures import Figure
from benchmarks.reward.data import HELPFUL, preferences
from trainers.features.encoder import Encoder, shipped_folder

ROUNDS, BATCHES = 5, (8, 16, 32, 64, 128)


def figures(quick: bool) -> Sequence[Figure]:
    """The median ratio of rounds that alternate between the two, and the least cosine of their vectors."""
    torch.set_num_threads(1)
    texts = list(dict.fromkeys(text for each in preferences(HELPFUL) for text in (each.a, each.b)))[: 100 if quick else 600]
    theirs = SentenceTransformer(str(shipped_folder()), device="cpu")
    ours = Encoder(shipped_folder())

    def encoded() -> np.ndarray:
        return ours.encode([ours.sequence(ours.tokens(text)[: ours.limit - 2]) for text in texts])

    best = min(BATCHES, key=lambda batch: _seconds(lambda: theirs.encode(texts[:200], batch_size=batch, show_progress_bar=False)))
    rounds = []
    for _ in range(1 if quick else ROUNDS):
        mine = _seconds(encoded)
        rounds.append((len(texts) / mine, len(texts) / _seconds(lambda: theirs.encode(texts, batch_size=best, show_progress_bar=False))))
    ratios = [one / other for one, other in rounds]
    cosine = float(
        (encoded() * theirs.encode(texts, batch_size=best, normalize_embeddings=True, show_progress_bar=False)).sum(axis=1).min()
    )
    rates = np.median(np.array(rounds), axis=0)
    unit = f"1; {rates[0]:.1f} and {rates[1]:.1f} texts/s, their batch {best}"
    return [
        Figure("embedding_ratio", float(np.median(ratios)), min(ratios), max(ratios), unit, ">=1.2"),
        Figure("embedding_cosine", cosine, None, None, "least", ">=0.999"),
    ]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
