"""Preferences simulated from known weights, for the tests of the reward heads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from storage.events import Side, Stratum
from trainers.data.preference import DecisiveChoice, Entry, Features, Preference
from trainers.reward.online.settings import HeadSettings

EMBEDDING = "e" * 64
CUTS = HeadSettings().cut_points


@dataclass(frozen=True)
class Truth:
    weights: np.ndarray
    first: float = 0.0  # log-odds for the side shown first
    random: int = 0  # the first so many recruiters answer at random
    scales: tuple[float, ...] = ()  # of the first recruiters; 1 for the others
    cuts: tuple[float, ...] = CUTS


def preference(
    sequence: int,
    a: np.ndarray,
    b: np.ndarray,
    choice: DecisiveChoice,
    strength: int | None = None,
    recruiter: str = "r-0",
    shown_first: Side | None = None,
    stratum: Stratum = "training",
    counts: bool = True,
) -> Entry:
    """An entry as the learner takes it from the stream: features and no texts."""
    found = Preference(
        (), "", "", choice, stratum, "", strength, recruiter, shown_first, "product",
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=sequence), UUID(int=sequence), counts,
        Features(EMBEDDING, a.astype("<f4"), b.astype("<f4")),
    )  # fmt: skip
    return Entry(sequence, found)


def changed(entry: Entry, **fields: Any) -> Entry:
    """The entry with some fields of its preference replaced."""
    return replace(entry, preference=replace(preference_in(entry), **fields))


def preference_in(entry: Entry) -> Preference:
    assert entry.preference is not None
    return entry.preference


def removal(sequence: int, removes: int) -> Entry:
    return Entry(sequence, removes=removes)


def answered(rng: np.random.Generator, latent: float, cuts: Sequence[float] = CUTS) -> tuple[DecisiveChoice, int | None]:
    """A draw from the ordered model at ``latent``, first side up."""
    level = int(np.searchsorted([*(-c for c in reversed(cuts)), *cuts], latent + rng.logistic())) - 4
    return ("tie", None) if level == 0 else ("A" if level > 0 else "B", abs(level))


def drawn(n: int, dimension: int, seed: int, truth: Truth | None = None, recruiters: int = 8) -> list[Entry]:
    """``n`` preferences whose replies lie at random, a third of them without a strength."""
    rng = np.random.default_rng(seed)
    truth = truth or Truth(rng.normal(size=dimension) * 1.5)
    entries = []
    for sequence in range(1, n + 1):
        a, b = rng.normal(size=(2, dimension)).astype("f4") / np.sqrt(2 * dimension)
        who = int(rng.integers(recruiters))
        first: Side = ("A", "B")[int(rng.integers(2))]
        latent = float((a - b) @ truth.weights) + (truth.first if first == "A" else -truth.first)
        latent *= truth.scales[who] if who < len(truth.scales) else 1.0
        choice, strength = answered(rng, rng.normal() * 3 if who < truth.random else latent, truth.cuts)
        if rng.random() < 1 / 3:
            strength = None
        entries.append(preference(sequence, a, b, choice, strength, f"r-{who}", first))
    return entries


def swapped(entries: Sequence[Entry]) -> list[Entry]:
    """The same judgments of the same replies with A and B exchanged."""
    return [replace(entry, preference=preference_in(entry).swapped()) for entry in entries]
