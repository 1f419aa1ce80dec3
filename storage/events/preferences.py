"""Numbered preferences, which the learner consumes in order, and the rule by which all readers follow them.

One hub numbers at a time. It claims a higher epoch before it starts; entries published by an older hub after that claim are ignored.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from storage.events.event import Event
from storage.events.feedback import JudgmentGiven
from storage.events.fields import Identifier, Sha256, Stratum
from storage.events.vector import Vector


class HubClaimed(Event):
    """A hub takes over the numbering; readers ignore lower epochs after a higher claim."""

    kind: Literal["HubClaimed"] = "HubClaimed"
    epoch: Annotated[int, Field(ge=1)]
    hub: Identifier


class PreferenceJoined(Event):
    """Pair, features and judgment have met: the n-th entry of what the learner learns from."""

    kind: Literal["PreferenceJoined"] = "PreferenceJoined"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    epoch: Annotated[int, Field(ge=1)]
    sequence: Annotated[int, Field(ge=1)]
    judgment: JudgmentGiven
    stratum: Stratum
    embedding_hash: Sha256
    a: Vector
    b: Vector


class PreferenceRemoved(Event):
    """Entry ``removes`` no longer holds: its recruiter replaced or withdrew the judgment."""

    kind: Literal["PreferenceRemoved"] = "PreferenceRemoved"
    epoch: Annotated[int, Field(ge=1)]
    sequence: Annotated[int, Field(ge=1)]
    removes: Annotated[int, Field(ge=1)]


Numbered = PreferenceJoined | PreferenceRemoved


@dataclass(frozen=True)
class Watermark:
    """A reader's progress: the highest epoch claimed and the last sequence number consumed."""

    epoch: int = 0
    sequence: int = 0


class SequenceGap(Exception):
    """The entry's sequence number is not the next one: entries in between are missing."""

    def __init__(self, watermark: Watermark, entry: Numbered) -> None:
        super().__init__(f"feedback.preferences: number {entry.sequence} came after {watermark.sequence}")
        self.watermark, self.entry = watermark, entry


def advance(watermark: Watermark, event: Event) -> tuple[Watermark, Numbered | None]:
    """Return the watermark after ``event``, and the event itself if it is the next numbered entry.

    The second value is None for claims, duplicates, entries of an older epoch and all other kinds of events.

    Raises
    ------
    SequenceGap
        The entry's number is higher than the next one.
    """
    match event:
        case HubClaimed():
            return Watermark(max(watermark.epoch, event.epoch), watermark.sequence), None
        case PreferenceJoined() | PreferenceRemoved():
            if event.epoch < watermark.epoch or event.sequence <= watermark.sequence:
                return watermark, None
            if event.sequence > watermark.sequence + 1:
                raise SequenceGap(watermark, event)
            return Watermark(event.epoch, event.sequence), event
    return watermark, None
