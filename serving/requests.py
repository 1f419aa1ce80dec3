"""What clients may send, field by field, and the one way to read it: whatever is wrong is refused with the name of its field.

The chat request is the one that OpenAI's client sends. Of its fields those are taken that are honoured here, or that change nothing with
the value sent; a value that would have to be ignored is refused, since silence would be a lie.
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from serving.feedback.kind import Shape
from storage.errors import InputRefused
from storage.events import Identifier, Name, Sampling, Text
from trainers.data.messages import ONE, SEVERAL, ChatMessages, field_path, one_or_several

Stop = Annotated[str, Field(min_length=1, max_length=1000)]  # a line break alone is a usual one
Nothing = Annotated[list[Any], Field(max_length=0)]
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
    # Hints that oblige to nothing.
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    parallel_tool_calls: bool | None = None
    # Taken where they say what holds anyway.
    n: Literal[1] | None = None
    store: Literal[False] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    modalities: tuple[Literal["text"]] | None = None
    response_format: TextFormat | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Nothing | None = None
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
            raise _disagreement("stream_options", "only for a request with stream = true")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise _disagreement("max_tokens", "differs from max_completion_tokens; give one of them")
        if self.conversation_id is not None and not _is_identifier(self.conversation_id):
            raise _disagreement("metadata.conversation_id", "letters, digits and _.:- only, at most 128, a letter or digit first")
        return self

    @property
    def conversation_id(self) -> str | None:
        return (self.metadata or {}).get("conversation_id")

    def sampling(self, default_tokens: int) -> Sampling:
        """How the reply is drawn, with OpenAI's defaults where nothing is said."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens or default_tokens,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else self.stop or (),
        )


class PairRequest(Shape):
    """The body of ``POST /v1/pairs``: two responses of the product's own to one prompt."""

    prompt: ChatMessages
    responses: tuple[Text, Text]
    versions: tuple[Name, Name] = ("product", "product")
    conversation_id: Identifier | None = None
    pair_id: UUID | None = None


_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
CHAT = TypeAdapter(ChatRequest)
PAIR = TypeAdapter(PairRequest)


class FieldRefused(InputRefused):
    """``InputRefused`` with OpenAI's code for what is wrong with the field."""

    def __init__(self, message: str, field: str | None, code: str) -> None:
        super().__init__(message, field)
        self.code = code
        self.status = 404 if code == "model_not_found" else 400


def read(shape: TypeAdapter[Body], raw: bytes, *, discriminated: bool = False) -> Body:
    """The body as ``shape``; a :class:`FieldRefused` names the first field that is wrong, and how.

    ``discriminated`` shapes are of several kinds, told by the field ``type``; pydantic then puts the kind before the names of fields.
    """
    try:
        return shape.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        raise _unreadable(raw, first["msg"])
    raise _named(first, discriminated)


def documented(shape: TypeAdapter[Any]) -> dict[str, Any]:
    """The body in a route's OpenAPI document. Routes read their bodies themselves, so that FastAPI knows none."""
    schema = shape.json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inlined(definitions[value["$ref"].rpartition("/")[2]])
        return {key: inlined(each) for key, each in value.items() if key != "discriminator"}  # its mapping is of references

    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema)}}}}


def _named(complaint: Any, discriminated: bool) -> FieldRefused:
    parts = [str(part) for part in complaint["loc"]]
    if discriminated:
        parts = parts[1:]
    parts = [str(part) for part in field_path(parts) if part]
    field, said, kind = ".".join(parts), complaint["msg"], complaint["type"]
    if kind == "field_refused":
        field = complaint["ctx"]["field"]
    if kind.startswith("union_tag"):
        field = "type"
    codes = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter", "none_required": "unsupported_parameter"}
    code = codes.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
    if kind == "none_required":
        said = "this service cannot honour it; leave it out"
    elif kind == "extra_forbidden":
        said = "there is no such field"
    return FieldRefused(f"{field or 'body'}: {said}", field or "body", code)


def _is_identifier(text: str) -> bool:
    try:
        _IDENTIFIER.validate_python(text)
    except ValidationError:
        return False
    return True


def _disagreement(field: str, said: str) -> PydanticCustomError:
    return PydanticCustomError("field_refused", "{said}", {"field": field, "said": said})


def _unreadable(raw: bytes, said: str) -> FieldRefused:
    """Which text of the body is no UTF-8, if that is what is wrong with it."""
    try:
        body = json.loads(raw.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return FieldRefused(f"body: not JSON in UTF-8 ({said})", "body", "invalid_json")
    for path, text in _texts(body, ()):
        if any("\ud800" <= character <= "\udfff" for character in text):
            field = ".".join(map(str, path)) or "body"
            return FieldRefused(f"{field}: not valid UTF-8", field, "invalid_value")
    return FieldRefused(f"body: not JSON in UTF-8 ({said})", "body", "invalid_json")


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
