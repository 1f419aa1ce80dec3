"""The bodies that the OpenAI endpoints answer with, as the OpenAPI document describes them.

The endpoints make them as plain dicts, which is faster; a test holds real responses against these models. Fields of an upstream that are
not named here pass through.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Discriminator, Field


class Body(BaseModel):
    """Other fields may follow: an upstream's, or OpenAI's next ones."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Ids(Body):
    """The ids by which the reply can be judged; ``reply_id`` is null where nothing was logged, ``pair_id`` where no pair was drawn."""

    conversation_id: str
    reply_id: UUID | None
    pair_id: UUID | None


# ---- chat


class Usage(Body):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CalledFunction(Body):
    name: str
    arguments: str


class ToolCall(Body):
    id: str
    type: Literal["function"]
    function: CalledFunction


class ReplyMessage(Body):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[ToolCall] | None = None


class TokenLogprob(Body):
    token: str
    logprob: float
    bytes: list[int] | None = None


class ChosenLogprob(TokenLogprob):
    top_logprobs: list[TokenLogprob] = []


class Logprobs(Body):
    content: list[ChosenLogprob] | None


class ChatChoice(Body):
    index: int
    message: ReplyMessage
    logprobs: Logprobs | None
    finish_reason: str


class ChatCompletion(Body):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: Annotated[list[ChatChoice], Field(min_length=1)]
    usage: Usage
    feedbackloop: Ids


class ChunkChoice(Body):
    index: int
    delta: dict[str, Any]
    logprobs: Logprobs | None
    finish_reason: str | None


class ChatChunk(Body):
    """One event of a streamed answer; the last choice comes with ``feedbackloop``, and ``usage`` follows where it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    feedbackloop: Ids | None = None


# ---- completions


class OlderLogprobs(Body):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Body):
    index: int
    text: str
    logprobs: OlderLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"]


class TextChunkChoice(Body):
    index: int
    text: str
    logprobs: OlderLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"] | None


class TextCompletion(Body):
    """A whole answer of the older endpoint."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: Annotated[list[TextChoice], Field(min_length=1)]
    usage: dict[str, Any]
    feedbackloop: Ids


class TextChunk(Body):
    """One event of a streamed answer of the older endpoint; the last has ``usage`` and ``feedbackloop``."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChunkChoice]
    usage: dict[str, Any] | None = None
    feedbackloop: Ids | None = None


# ---- responses


class OutputText(Body):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ChosenLogprob]


class OutputMessage(Body):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["completed", "incomplete"]
    content: list[OutputText]


class OutputCall(Body):
    id: str
    type: Literal["function_call"]
    status: Literal["completed", "incomplete"]
    call_id: str
    name: str
    arguments: str


class ResponseUsage(Body):
    input_tokens: int
    output_tokens: int
    total_tokens: int


class ResponseObject(Body):
    """A whole answer of the Responses API; fields of the request are repeated."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    model: str
    output: list[Annotated[OutputMessage | OutputCall, Discriminator("type")]]
    error: None
    incomplete_details: dict[str, Any] | None
    previous_response_id: None
    usage: ResponseUsage
    feedbackloop: Ids


class ResponseEvent(Body):
    """One event of a streamed answer of the Responses API; its other fields depend on ``type``."""

    type: str
    sequence_number: int


# ---- embeddings and models


class EmbeddingItem(Body):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str  # or base64 of float32, where that was asked for


class EmbeddingUsage(Body):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Body):
    object: Literal["list"]
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


class ModelItem(Body):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Body):
    object: Literal["list"]
    data: list[ModelItem]
