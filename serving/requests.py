"""Request models, and :func:`read`, which parses a body and names the field at fault.

The chat request is OpenAI's. A field is accepted if this service implements it, or if the value sent is its neutral default; a value that
would have to be ignored is refused rather than dropped silently.
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from serving.feedback.kind import Shape
from storage.errors import InputRefused
from storage.events import Finite, Identifier, Moment, Name, Sampling, Text
from storage.events.outcomes import Groups
from trainers.data.messages import ONE, SEVERAL, ChatMessages, field_path, one_or_several

Stop = Annotated[str, Field(min_length=1, max_length=1000)]  # a single line break is common
EmptyList = Annotated[list[Any], Field(max_length=0)]
Body = TypeVar("Body")


class StreamOptions(Shape):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class TextFormat(Shape):
    type: Literal["text"]


class ChatRequest(Shape):
    """The body of ``POST /v1/chat/completions``."""

    model: Name
    messages: ChatMessages
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: (
        Annotated[Annotated[Stop, Tag(ONE)] | Annotated[tuple[Stop, ...], Field(max_length=4), Tag(SEVERAL)], Discriminator(one_or_several)]
        | None
    ) = None
    user: Name | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    # Hints: accepted and ignored.
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    parallel_tool_calls: bool | None = None
    # Accepted only with the value that is in effect anyway.
    n: Literal[1] | None = None
    store: Literal[False] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    modalities: tuple[Literal["text"]] | None = None
    response_format: TextFormat | None = None
    tools: EmptyList | None = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: EmptyList | None = None
    function_call: Literal["none", "auto"] | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    audio: None = None
    moderation: None = None
    prediction: None = None
    prompt_cache_options: None = None
    prompt_cache_retention: None = None
    web_search_options: None = None

    @model_validator(mode="after")
    def _agrees(self) -> "ChatRequest":
        if self.stream_options is not None and not self.stream:
            raise _field_error("stream_options", "only for a request with stream = true")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise _field_error("max_tokens", "differs from max_completion_tokens; give one of them")
        if self.conversation_id is not None and not _is_identifier(self.conversation_id):
            raise _field_error("metadata.conversation_id", "letters, digits and _.:- only, at most 128, a letter or digit first")
        return self

    @property
    def conversation_id(self) -> str | None:
        return (self.metadata or {}).get("conversation_id")

    def sampling(self, default_tokens: int, best_of: int = 1) -> Sampling:
        """Sampling parameters of the reply, with OpenAI's defaults."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens or default_tokens,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else self.stop or (),
            best_of=best_of,
        )


class PairRequest(Shape):
    """The body of ``POST /v1/pairs``: two responses of the product's own to one prompt.

    Recruiters are asked about pairs of a higher ``priority`` first. ``opinions`` is how many of them are asked; None for the settings.
    """

    prompt: ChatMessages
    responses: tuple[Text, Text]
    versions: tuple[Name, Name] = ("product", "product")
    conversation_id: Identifier | None = None
    pair_id: UUID | None = None
    priority: Annotated[int, Field(ge=0, le=9)] = 0
    opinions: Annotated[int, Field(ge=1, le=100)] | None = None


class Outcome(Shape):
    """A decision about a candidate at one stage of one position."""

    position: Identifier
    stage: Identifier
    selected: bool
    score: Finite | None = None
    outcome_id: Identifier | None = None
    decided_at: Moment | None = None


class OutcomeRequest(Shape):
    """The body of ``POST /v1/outcomes``: a candidate's groups, a decision about the candidate, or both."""

    candidate: Name
    groups: Groups | None = None
    outcome: Outcome | None = None


def _kind_of_document(value: Any) -> str:
    return "object" if isinstance(value, dict | BaseModel) else "text"


class Document(Shape):
    """A document as an object, as Jina's clients send it."""

    text: Text


class RerankRequest(Shape):
    """The body of ``POST /v1/rerank``; the fields that Cohere, Jina and Open WebUI share."""

    model: Name
    query: Text
    documents: Annotated[
        tuple[
            Annotated[Annotated[str, Tag("text")] | Annotated[Document, Tag("object")], Discriminator(_kind_of_document)],
            ...,
        ],
        Field(min_length=1, max_length=1_000),
    ]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None

    @property
    def texts(self) -> list[str]:
        return [each if isinstance(each, str) else each.text for each in self.documents]


_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
CHAT = TypeAdapter(ChatRequest)
PAIR = TypeAdapter(PairRequest)
OUTCOME = TypeAdapter(OutcomeRequest)
RERANK = TypeAdapter(RerankRequest)


class FieldRefused(InputRefused):
    """``InputRefused`` with OpenAI's error code."""

    def __init__(self, message: str, field: str | None, code: str) -> None:
        super().__init__(message, field)
        self.code = code
        self.status = 404 if code == "model_not_found" else 400


def read(shape: TypeAdapter[Body], raw: bytes, *, discriminated: bool = False) -> Body:
    """Parse a body as ``shape``; raises :class:`FieldRefused` for the first field at fault.

    ``discriminated`` shapes are unions discriminated by the field ``type``, for which pydantic puts the tag in front of the field path.
    """
    try:
        return shape.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        raise _not_json(raw, first["msg"])
    raise _field_refused(first, discriminated)


def documented(shape: TypeAdapter[Any]) -> dict[str, Any]:
    """The ``requestBody`` of a route in the OpenAPI document; routes parse their bodies themselves, so FastAPI cannot derive it."""
    schema = shape.json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inlined(definitions[value["$ref"].rpartition("/")[2]])
        return {key: inlined(each) for key, each in value.items() if key != "discriminator"}  # its mapping holds $refs

    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema)}}}}


def _field_refused(error: Any, discriminated: bool) -> FieldRefused:
    parts = [str(part) for part in error["loc"]]
    if discriminated:
        parts = parts[1:]
    parts = [str(part) for part in field_path(parts) if part]
    field, message, kind = ".".join(parts), error["msg"], error["type"]
    if kind == "field_refused":
        field = error["ctx"]["field"]
    if kind.startswith("union_tag"):
        field = "type"
    codes = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter", "none_required": "unsupported_parameter"}
    code = codes.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
    if kind == "none_required":
        message = "not supported by this service; leave it out"
    elif kind == "extra_forbidden":
        message = "unknown field"
    return FieldRefused(f"{field or 'body'}: {message}", field or "body", code)


def _is_identifier(text: str) -> bool:
    try:
        _IDENTIFIER.validate_python(text)
    except ValidationError:
        return False
    return True


def _field_error(field: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("field_refused", "{message}", {"field": field, "message": message})


def _not_json(raw: bytes, message: str) -> FieldRefused:
    """Name the field that is not valid UTF-8, or report that the body is not JSON."""
    try:
        body = json.loads(raw.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return FieldRefused(f"body: not JSON in UTF-8 ({message})", "body", "invalid_json")
    for path, text in _texts(body, ()):
        if any("\ud800" <= character <= "\udfff" for character in text):
            field = ".".join(map(str, path)) or "body"
            return FieldRefused(f"{field}: not valid UTF-8", field, "invalid_value")
    return FieldRefused(f"body: not JSON in UTF-8 ({message})", "body", "invalid_json")


def _texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield (), key
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))
