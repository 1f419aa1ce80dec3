"""Preferences with a known truth, for the tests of the reward heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np

from storage.events import Choice, JudgmentGiven, PreferenceJoined, PreferenceRemoved, Side, Stratum, pack
from trainers.reward.online.head import HeadSettings

EMBEDDING = "e" * 64
CUTS = HeadSettings().cut_points


@dataclass(frozen=True)
class Truth:
    weights: np.ndarray
    first: float = 0.0  # log-odds for the side shown first
    random: int = 0  # the first so many recruiters answer at random


def preference(
    sequence: int,
    a: np.ndarray,
    b: np.ndarray,
    choice: Choice | None,
    strength: int | None = None,
    recruiter: str = "r-0",
    shown_first: Side | None = None,
    stratum: Stratum = "training",
    counts: bool = True,
) -> PreferenceJoined:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=sequence)
    judgment = JudgmentGiven(
        source="product", pair_id=UUID(int=sequence), recruiter=recruiter, choice=choice, strength=strength, shown_first=shown_first,
        occurred_at=moment, counts=counts, objectives={} if choice else {"helpful": "A"},
    )  # fmt: skip
    return PreferenceJoined(
        source="product", epoch=1, sequence=sequence, judgment=judgment, stratum=stratum, embedding_hash=EMBEDDING, a=pack(a), b=pack(b)
    )


def removal(sequence: int, removes: int) -> PreferenceRemoved:
    return PreferenceRemoved(source="product", epoch=1, sequence=sequence, removes=removes)


def answered(rng: np.random.Generator, latent: float) -> tuple[Choice, int | None]:
    """A draw from the ordered model at ``latent``, first side up."""
    level = int(np.searchsorted([*(-c for c in reversed(CUTS)), *CUTS], latent + rng.logistic())) - 4
    return ("tie", None) if level == 0 else ("A" if level > 0 else "B", abs(level))


def drawn(n: int, dimension: int, seed: int, truth: Truth | None = None, recruiters: int = 8) -> list[PreferenceJoined]:
    """``n`` preferences whose replies lie at random, a third of them without a strength."""
    rng = np.random.default_rng(seed)
    truth = truth or Truth(rng.normal(size=dimension) * 1.5)
    events = []
    for sequence in range(1, n + 1):
        a, b = rng.normal(size=(2, dimension)).astype("f4") / np.sqrt(2 * dimension)
        who = int(rng.integers(recruiters))
        first: Side = ("A", "B")[int(rng.integers(2))]
        latent = float((a - b) @ truth.weights) + (truth.first if first == "A" else -truth.first)
        choice, strength = answered(rng, rng.normal() * 3 if who < truth.random else latent)
        if rng.random() < 1 / 3:
            strength = None
        events.append(preference(sequence, a, b, choice, strength, f"r-{who}", first))
    return events


def swapped(events: Sequence[PreferenceJoined]) -> list[PreferenceJoined]:
    """The same judgments of the same replies with A and B exchanged."""
    other = {"A": "B", "B": "A", "tie": "tie", None: None}
    return [
        event.model_copy(
            update={
                "a": event.b,
                "b": event.a,
                "judgment": event.judgment.model_copy(
                    update={"choice": other[event.judgment.choice], "shown_first": other[event.judgment.shown_first]}
                ),
            }
        )
        for event in events
    ]
