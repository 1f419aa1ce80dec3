"""Compute the features of each drawn pair, the input of the reward head. Stateless: any number of workers can share the partitions.

Pairs come from ``feedback.pairs``; the features go to ``feedback.features``, where the hub joins them with judgments.
"""

from collections.abc import Sequence
from functools import partial

from storage.events import Event, PairDrawn, PairEmbedded, derived_id, pack
from storage.texts.texts import PLAIN, Texts
from streams.stations.contexts import ProcessorContext
from streams.stations.runner import Handler
from trainers.features.embedding import Embedding


def build(context: ProcessorContext) -> Handler:
    """The handler for the table of consumers."""
    return partial(embed_pairs, embedder=context.embedder, texts=context.texts)


def embed_pairs(events: Sequence[Event], embedder: Embedding, texts: Texts = PLAIN) -> list[Event]:
    """A ``PairEmbedded`` for each pair, reproducible by any worker. Vectors are sealed as the pair is: texts can be guessed from them.

    Its id derives from the pair and the embedding, and its time is the pair's. Pairs are embedded one at a time because rounding depends
    on the composition of a batch; this is as fast as batches of eight.
    """
    return [_embedded(event, embedder, texts) for event in events if isinstance(event, PairDrawn)]


def _embedded(pair: PairDrawn, embedder: Embedding, texts: Texts) -> PairEmbedded:
    opened = texts.event(pair)
    a, b = embedder.features([(opened.prompt, opened.a.text), (opened.prompt, opened.b.text)])
    return PairEmbedded(
        event_id=derived_id("PairEmbedded", pair.pair_id, embedder.hash),
        occurred_at=pair.occurred_at,
        source=pair.source,
        pair_id=pair.pair_id,
        embedding=embedder.name,
        embedding_hash=embedder.hash,
        a=texts.sealed_like(pack(a), pair.a.text),
        b=texts.sealed_like(pack(b), pair.b.text),
    )
