"""Turn each drawn pair into the features that the reward head learns from. Stateless: any number of workers may share the pairs.

Pairs come from ``feedback.pairs``; the features go to ``feedback.features``, where the hub joins them with judgments.
"""

from collections.abc import Sequence
from functools import partial

from storage.events import Event, PairDrawn, PairEmbedded, derived_id, pack
from streams.stations.contexts import ProcessorContext
from streams.stations.runner import Handler
from trainers.features.embedding import Embedding


def build(context: ProcessorContext) -> Handler:
    """The handler of the table's row."""
    return partial(embed_pairs, embedder=context.embedder)


def embed_pairs(events: Sequence[Event], embedder: Embedding) -> list[Event]:
    """A ``PairEmbedded`` for each pair.

    Its id comes from the pair and the embedding, its time is the pair's, and its features are computed by themselves: rounding depends on
    what is computed together, and embedding again, whoever does it, has to give the same event. Alone a pair is as quick as among eight.
    """
    return [_embedded(event, embedder) for event in events if isinstance(event, PairDrawn)]


def _embedded(pair: PairDrawn, embedder: Embedding) -> PairEmbedded:
    a, b = embedder.features([(pair.prompt, pair.a.text), (pair.prompt, pair.b.text)])
    return PairEmbedded(
        event_id=derived_id("PairEmbedded", pair.pair_id, embedder.hash),
        occurred_at=pair.occurred_at,
        source=pair.source,
        pair_id=pair.pair_id,
        embedding=embedder.name,
        embedding_hash=embedder.hash,
        a=pack(a),
        b=pack(b),
    )
