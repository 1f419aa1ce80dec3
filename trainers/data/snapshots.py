"""Reads preferences, ratings and evaluation prompts from a frozen snapshot."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from storage.events import Message, Prompt, unpack
from storage.snapshots.snapshot import Snapshot, open_snapshot
from storage.texts.texts import PLAIN, Texts
from trainers.data.demonstration import Demonstration
from trainers.data.preference import Features, Preference
from trainers.data.rating import Rating

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(Prompt)


def preferences_of(snapshot: Snapshot) -> list[Preference]:
    """The overall judgments of a snapshot, in order of sequence.

    Training rows whose prompt or conversation also occurs in the evaluation stratum are left out.
    """
    return [_preference(row) for row in snapshot.admitted.to_pylist() if row["objective"] == "overall"]


def ratings_of(snapshot: Snapshot) -> list[Rating]:
    """The ratings of a snapshot, oldest first, without training rows that overlap with the evaluation stratum."""
    return [
        Rating(
            prompt=_MESSAGES.validate_json(row["prompt"]),
            reply=row["reply"],
            good=row["good"],
            stratum=row["stratum"],
            conversation_id=row["conversation_id"],
            recruiter=row["recruiter"],
            source=row["source"],
        )
        for row in snapshot.admitted_ratings.to_pylist()
    ]


def rewrites_of(snapshot: Snapshot) -> list[Demonstration]:
    """The recruiters' rewrites of replies that they preferred to the original, without training rows that overlap with evaluation."""
    return [
        Demonstration(
            prompt=_MESSAGES.validate_json(row["prompt"]),
            reply=row["a"] if row["choice"] == "A" else row["b"],
            stratum=row["stratum"],
            conversation_id=row["conversation_id"],
            source=row["source"],
        )
        for row in snapshot.admitted.to_pylist()
        if row["objective"] == "overall" and row["drawn"] == "edited" and row["choice"] in ("A", "B")
    ]


def ratings_in(path: Path, texts: Texts = PLAIN) -> list[Rating]:
    """The ratings of a snapshot's folder, whose texts ``texts`` opens; a file has none."""
    return ratings_of(open_snapshot(path, texts)) if path.is_dir() else []


def trial_prompts(snapshot: Snapshot, most: int) -> list[tuple[Message, ...]]:
    """The newest prompts of the evaluation stratum, oldest first.

    The replies that were served are not used: they may have been sampled at other settings, and with other random numbers.
    """
    return [_MESSAGES.validate_json(prompt) for prompt in snapshot.prompts["prompt"].to_pylist()[-most:]]


def trial_prompts_among(preferences: Iterable[Preference], most: int) -> list[tuple[Message, ...]]:
    """The last distinct prompts of the evaluation stratum's preferences, for data without separate prompts."""
    return list(dict.fromkeys(each.prompt for each in preferences if each.stratum == "evaluation"))[-most:]


def _preference(row: dict[str, Any]) -> Preference:
    return Preference(
        prompt=_MESSAGES.validate_json(row["prompt"]),
        a=row["a"],
        b=row["b"],
        choice=row["choice"],
        stratum=row["stratum"],
        conversation_id=row["conversation_id"],
        strength=row["strength"],
        recruiter=row["recruiter"],
        shown_first=row["shown_first"],
        source=row["source"],
        occurred_at=row["occurred_at"],
        counts=row["counts"],
        features=Features(row["embedding_hash"], unpack(row["features_a"]), unpack(row["features_b"])),
    )
