"""Reads the state of the join from the tables: all of it when a hub starts, and single pairs that are not in memory."""

from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

from storage.events import JudgmentGiven
from storage.warehouse.join import Features, Pair, Standing
from storage.warehouse.rows import event_of

Row = Mapping[str, Any]
Ask = Callable[[str, Mapping[str, Any] | None], list[dict[str, Any]]]  # runs a named query


def incomplete_pairs(ask: Ask) -> dict[UUID, Pair]:
    """Every pair whose ``PairDrawn`` or features are missing, with the judgments waiting for it."""
    pairs = {UUID(row["pair_id"]): Pair(row["stratum"], _features(row) if row["a"] else None) for row in ask("join_incomplete", None)}
    for row in ask("join_waiting", None):
        pairs.setdefault(UUID(row["pair_id"]), Pair()).waiting.append(event_of(JudgmentGiven, row))
    return pairs


def known_pairs(ask: Ask, ids: Collection[UUID]) -> dict[UUID, Pair]:
    """The complete pairs among ``ids``, with each recruiter's current judgment."""
    asked = {"ids": [str(pair_id) for pair_id in ids]}
    pairs = {UUID(row["pair_id"]): Pair(row["stratum"], _features(row)) for row in ask("join_known", asked)}
    for row in ask("join_standing", asked):
        if (pair := pairs.get(UUID(row["pair_id"]))) is not None:
            pair.standing[row["recruiter"]] = Standing(UUID(row["event_id"]), row["sequence"])
    return pairs


def missed_judgments(ask: Ask) -> list[tuple[Pair, JudgmentGiven]]:
    """Current judgments of complete pairs that the numbered preferences do not reflect, each with what is numbered as ``standing``."""
    missed = []
    for row in ask("join_missed", None):
        held = Standing(UUID(row["held_id"]), row["held_sequence"]) if row["held_id"] else None
        pair = Pair(row["stratum"], _features(row), standing={row["recruiter"]: held} if held else {})
        missed.append((pair, event_of(JudgmentGiven, row)))
    return missed


def _features(row: Row) -> Features:
    return Features(row["embedding_hash"], row["a"], row["b"])
