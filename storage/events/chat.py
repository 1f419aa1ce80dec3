"""Chat events: the replies sent to candidates."""

from typing import Annotated, Literal

from pydantic import Field

from storage.events.event import Event, Part
from storage.events.fields import Identifier, Name, Stratum, Text


class Message(Part):
    role: Literal["system", "user", "assistant"]
    content: Text


Prompt = Annotated[tuple[Message, ...], Field(min_length=1, max_length=200)]


class Sampling(Part):
    """How a reply was drawn. None stands for what an upstream server chose, since the client had not.

    ``best_of`` replies were drawn with these parameters, and the reward model chose among them.
    """

    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    max_tokens: Annotated[int, Field(ge=1)] | None = 128
    seed: int | None = None
    stop: tuple[str, ...] = ()
    best_of: Annotated[int, Field(ge=1, le=64)] = 1
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0


class ReplySent(Event):
    """The chatbot answered a candidate. ``candidate`` is a pseudonym.

    ``prompt_key`` is a keyed hash of the prompt where texts are sealed: equal prompts have equal keys, though their tokens differ.
    """

    kind: Literal["ReplySent"] = "ReplySent"
    schema_version: Literal[4] = 4  # type: ignore[assignment]
    conversation_id: Identifier
    candidate: Identifier | None = None
    prompt: Prompt
    reply: Text
    version: Name
    sampling: Sampling
    stratum: Stratum
    prompt_key: Identifier | None = None
