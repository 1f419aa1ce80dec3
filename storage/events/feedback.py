"""Feedback events: pairs of responses, recruiters' judgments of them, and their feature vectors."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, model_validator

from storage.events.chat import Prompt
from storage.events.event import Event, Part
from storage.events.fields import Choice, Finite, Identifier, Name, Sha256, Side, Stratum, Text
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
    schema_version: Literal[4] = 4  # type: ignore[assignment]
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
    schema_version: Literal[2] = 2  # type: ignore[assignment]
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
    """What a recruiter says of one reply: a thumb, a score on a scale, or a comment; with none of these, earlier ones are withdrawn.

    The reply is named by ``reply_id`` (the event id of its ``ReplySent``) or is the last one of ``conversation_id`` at that time. A score
    above the middle of its scale counts as a thumb up, one below as a thumb down, the middle as neither. Of a recruiter's thumbs and
    scores of one reply the last on the log holds; comments leave them as they are.
    """

    kind: Literal["ResponseRated"] = "ResponseRated"
    schema_version: Literal[3] = 3  # type: ignore[assignment]
    conversation_id: Identifier | None = None
    reply_id: UUID | None = None
    recruiter: Identifier
    thumb: Literal["up", "down"] | None = None
    score: Finite | None = None
    lowest: Finite | None = None  # the ends of the score's scale
    highest: Finite | None = None
    comment: Text | None = None
    reason: Text | None = None

    @property
    def subject(self) -> str:
        """Partition key: the conversation if it is known, otherwise the reply."""
        return self.conversation_id or str(self.reply_id)

    @model_validator(mode="after")
    def _agrees(self) -> "ResponseRated":
        if self.conversation_id is None and self.reply_id is None:
            raise ValueError("reply_id is missing: name the reply, or its conversation")
        if (self.thumb is not None) + (self.score is not None) + (self.comment is not None) > 1:
            raise ValueError("give one of thumb, score and comment")
        if (self.score is None, self.score is None) != (self.lowest is None, self.highest is None):
            raise ValueError("score, lowest and highest belong together")
        if self.score is not None and not self.lowest <= self.score <= self.highest:  # type: ignore[operator]  # all are given
            raise ValueError(f"score {self.score:g} is not on its scale from {self.lowest:g} to {self.highest:g}")
        if self.lowest is not None and self.lowest == self.highest:
            raise ValueError("the scale has only one value")
        return self


class ResponseEdited(Event):
    """A recruiter's rewrite of a response that the log holds, or will: of a reply, of a conversation's last one, or of a side of a pair.

    The hub publishes the pair ``pair_id`` of both once the original is there; the judgment for the rewrite is published with this event.
    """

    kind: Literal["ResponseEdited"] = "ResponseEdited"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    pair_id: UUID
    conversation_id: Identifier | None = None
    reply_id: UUID | None = None
    original_pair: UUID | None = None
    side: Side | None = None
    recruiter: Identifier
    edited: Text

    @property
    def subject(self) -> str:
        """Partition key: the conversation if it is known, otherwise the reply or the pair."""
        return self.conversation_id or str(self.reply_id or self.original_pair)

    @model_validator(mode="after")
    def _names_one_response(self) -> "ResponseEdited":
        if (self.original_pair is None) != (self.side is None):
            raise ValueError("original_pair and side belong together")
        if (self.original_pair is None) == (self.conversation_id is None and self.reply_id is None):
            raise ValueError("name one response: reply_id, conversation_id, or original_pair with side")
        return self


class PairEmbedded(Event):
    """The feature vectors of a pair's responses, under the embedding ``embedding`` (name and hash)."""

    kind: Literal["PairEmbedded"] = "PairEmbedded"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    pair_id: UUID
    embedding: Name
    embedding_hash: Sha256
    a: Vector
    b: Vector
