"""Feedback events: pairs of responses, recruiters' judgments of them, and their feature vectors."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, model_validator

from storage.events.chat import Prompt
from storage.events.event import Event, Part
from storage.events.fields import Choice, Identifier, Name, Sha256, Side, Stratum, Text
from storage.events.vector import Vector


class Response(Part):
    text: Text
    version: Name  # the model version that wrote it, or the product's own name for its author


class PairDrawn(Event):
    """Two responses to one prompt are there to be judged, drawn so and with this probability.

    ``arm`` says how the rating queue chooses when to ask about it: ``uniform`` (the newest first, whatever the reward model knows) or
    ``informative`` (the sooner, the more its answer would tell). ``priority`` goes before both. ``opinions`` is how many recruiters are
    asked; None for the hub's setting.
    """

    kind: Literal["PairDrawn"] = "PairDrawn"
    schema_version: Literal[3] = 3  # type: ignore[assignment]
    pair_id: UUID
    conversation_id: Identifier
    prompt: Prompt
    a: Response
    b: Response
    drawn: Identifier  # sampled, supplied, edited, imported, or a value added by a later version
    probability: Annotated[float, Field(gt=0, le=1)]
    stratum: Stratum
    arm: Identifier = "uniform"
    priority: Annotated[int, Field(ge=0, le=9)] = 0
    opinions: Annotated[int, Field(ge=1, le=100)] | None = None


class JudgmentGiven(Event):
    """What one recruiter said of one pair.

    ``choice`` is the overall one and may be absent where only single ``objectives`` were answered. ``shown_first`` is absent where nobody
    knows the order (imported records). ``counts`` says whether it moves the retraining threshold.
    """

    kind: Literal["JudgmentGiven"] = "JudgmentGiven"
    pair_id: UUID
    recruiter: Identifier
    choice: Choice | None
    objectives: dict[Identifier, Choice] = Field(default_factory=dict)
    strength: Annotated[int, Field(ge=1, le=4)] | None = None
    reason: Text | None = None
    shown_first: Side | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    counts: bool = True

    @model_validator(mode="after")
    def _says_something(self) -> "JudgmentGiven":
        if self.choice is None and not self.objectives:
            raise ValueError("choice is missing: give A, B, tie, neither or skip, or at least one of objectives")
        return self


class ResponseRated(Event):
    """A thumb up or down on one reply of a conversation."""

    kind: Literal["ResponseRated"] = "ResponseRated"
    conversation_id: Identifier
    reply_id: UUID | None = None  # the ReplySent's event_id; the conversation's last reply where absent
    recruiter: Identifier
    thumb: Literal["up", "down"]
    reason: Text | None = None


class PairEmbedded(Event):
    """The feature vectors of a pair's responses, under the embedding ``embedding`` (name and hash)."""

    kind: Literal["PairEmbedded"] = "PairEmbedded"
    pair_id: UUID
    embedding: Name
    embedding_hash: Sha256
    a: Vector
    b: Vector
