"""Reads preferences and evaluation prompts from a frozen snapshot."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from storage.events import Message, Prompt, unpack
from storage.snapshots.snapshot import Snapshot
from trainers.data.preference import Features, Preference

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(Prompt)


@dataclass(frozen=True)
class TrialPrompt:
    """An evaluation prompt, with the reply and version that answered it while serving; both empty if unanswered."""

    prompt: tuple[Message, ...]
    reply: str = ""
    version: str = ""


def preferences_of(snapshot: Snapshot) -> list[Preference]:
    """The overall judgments of a snapshot, in order of sequence.

    Training rows whose prompt or conversation also occurs in the evaluation stratum are left out.
    """
    return [_preference(row) for row in snapshot.admitted.to_pylist() if row["objective"] == "overall"]


def trial_prompts(snapshot: Snapshot, most: int) -> list[TrialPrompt]:
    """The newest prompts of the evaluation stratum, oldest first."""
    rows = snapshot.prompts.select(["prompt", "reply", "version"]).to_pylist()[-most:]
    return [TrialPrompt(_MESSAGES.validate_json(row["prompt"]), row["reply"], row["version"]) for row in rows]


def trial_prompts_among(preferences: Iterable[Preference], most: int) -> list[TrialPrompt]:
    """The last distinct prompts of the evaluation stratum's preferences, for data without separate prompts."""
    prompts: Sequence[tuple[Message, ...]] = list(dict.fromkeys(each.prompt for each in preferences if each.stratum == "evaluation"))
    return [TrialPrompt(prompt) for prompt in prompts[-most:]]


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
