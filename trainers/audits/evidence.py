"""Builds the reward heads and features that audits use from a run's preferences."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from storage.events import Message
from trainers.data.preference import Entry, Features, Preference
from trainers.features.embedding import Embedding
from trainers.reward.online.learn import Head, learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings
from trainers.reward.panel import Judged


def with_features(preferences: Sequence[Preference], embedding: Embedding) -> tuple[np.ndarray, np.ndarray]:
    """The features of all A and all B, ``(n, d)`` each: stored ones if they are of this embedding, otherwise computed."""
    stored = [_stored(each, embedding) for each in preferences]
    missing = [each for each, found in zip(preferences, stored, strict=True) if found is None]
    fresh = iter(embedding.features([(each.prompt, text) for each in missing for text in (each.a, each.b)]))
    a, b = np.empty((len(preferences), embedding.dimension), "<f4"), np.empty((len(preferences), embedding.dimension), "<f4")
    for i, found in enumerate(stored):
        a[i], b[i] = (found.a, found.b) if found is not None else (next(fresh), next(fresh))
    return a, b


def stored_features(preferences: Sequence[Preference], embedding: Embedding) -> dict[tuple[tuple[Message, ...], str], np.ndarray]:
    """Features already stored under this embedding, by (prompt, reply); many of the champion's replies have been judged."""
    vectors = {}
    for each in preferences:
        if (found := _stored(each, embedding)) is not None:
            vectors[each.prompt, each.a], vectors[each.prompt, each.b] = found.a, found.b
    return vectors


def training_head(preferences: Sequence[Preference], embedding: Embedding, settings: HeadSettings) -> Head:
    """The online head trained on the training stratum and reconciled: the reward that ranks replies and is audited."""
    rows = [each for each in preferences if each.stratum == "training"]
    sources = sorted({each.source for each in rows}) or ["product"]
    a, b = with_features(rows, embedding)
    entries = (Entry(i + 1, replace(each, features=Features(embedding.hash, a[i], b[i]))) for i, each in enumerate(rows))
    return reconcile(learn_all(new_head(settings, embedding.hash, embedding.dimension, sources), entries))


def judged(preferences: Sequence[Preference], embedding: Embedding) -> tuple[Judged, np.ndarray]:
    """The evaluation stratum's judgments, and the features of all judged replies, ``(2 n, d)``."""
    rows = [each for each in preferences if each.stratum == "evaluation"]
    a, b = with_features(rows, embedding)
    return Judged.of(rows, a, b), np.concatenate([a, b])


def reward_spread(head: Head) -> float:
    """The standard deviation of the head's reward differences between judged replies."""
    differences = head.history.differences()
    return float((differences.astype(float) @ head.weights).std()) if len(differences) else 0.0


def _stored(preference: Preference, embedding: Embedding) -> Features | None:
    found = preference.features
    return found if found is not None and found.embedding_hash == embedding.hash else None
