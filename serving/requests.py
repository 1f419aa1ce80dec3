"""Request models, and :func:`read`, which parses a body and names the field at fault. The chat request is in ``serving.openai``."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from serving.feedback.kind import Shape
from storage.errors import InputRefused
from storage.events import Finite, Identifier, Moment, Text
from storage.events.outcomes import MAX_GROUPS
from streams.http.documented import whole_schema
from streams.http.fields import NO_OTHER_KEYS, WHOLE, GivenName, given
from trainers.data.messages import ChatMessages, field_path

Body = TypeVar("Body")


class PairRequest(Shape):
    """The body of ``POST /v1/pairs``: two responses of the product's own to one prompt.

    Recruiters are asked about pairs of a higher ``priority`` first. ``opinions`` is how many of them are asked; None for the settings.
    """

    prompt: ChatMessages
    responses: Annotated[tuple[Text, Text], Field(json_schema_extra={"uniqueItems": True})]
    versions: tuple[GivenName, GivenName] = ("product", "product")
    conversation_id: Identifier | None = None
    pair_id: UUID | None = None
    priority: Annotated[int, Field(ge=0, le=9), WHOLE] = 0
    opinions: Annotated[int, Field(ge=1, le=100), WHOLE] | None = None


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

    model_config = ConfigDict(json_schema_extra={"anyOf": [given(groups="object"), given(outcome="object")]})

    candidate: GivenName
    groups: Annotated[dict[Identifier, GivenName], Field(max_length=MAX_GROUPS), NO_OTHER_KEYS] | None = None
    outcome: Outcome | None = None


def _kind_of_document(value: Any) -> str:
    return "object" if isinstance(value, dict | BaseModel) else "text"


class Document(Shape):
    """A document as an object, as Jina's clients send it."""

    text: Text


class RerankRequest(Shape):
    """The body of ``POST /v1/rerank``; the fields that Cohere, Jina and Open WebUI share."""

    model: GivenName
    query: Text
    documents: Annotated[
        tuple[
            Annotated[Annotated[Text, Tag("text")] | Annotated[Document, Tag("object")], Discriminator(_kind_of_document)],
            ...,
        ],
        Field(min_length=1, max_length=1_000),
    ]
    top_n: Annotated[int, Field(ge=1), WHOLE] | None = None
    return_documents: bool | None = None

    @property
    def texts(self) -> list[str]:
        return [each if isinstance(each, str) else each.text for each in self.documents]


_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
PAIR = TypeAdapter(PairRequest)
OUTCOME = TypeAdapter(OutcomeRequest)
RERANK = TypeAdapter(RerankRequest)


class FieldRefused(InputRefused):
    """``InputRefused`` with OpenAI's error code."""

    def __init__(self, message: str, field: str | None = None, code: str = "invalid_value") -> None:
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


def loaded(raw: bytes) -> dict[str, Any]:
    """The fields of a body that :func:`read` has accepted, as they were sent; raises :class:`FieldRefused` for NaN, which is not JSON."""
    try:
        fields: dict[str, Any] = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise FieldRefused(f"body: not JSON in UTF-8 ({error})", "body", "invalid_json") from error
    return fields


def documented(shape: TypeAdapter[Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    """The ``requestBody`` of a route in the OpenAPI document, and headers that it reads.

    Routes parse their bodies themselves, so FastAPI cannot derive it.
    """
    body = {"required": True, "content": {"application/json": {"schema": whole_schema(shape)}}}
    return {"requestBody": body} | ({"parameters": list(parameters)} if parameters else {})


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


def is_identifier(text: str) -> bool:
    """Whether the text is an :data:`Identifier`."""
    try:
        _IDENTIFIER.validate_python(text)
    except ValidationError:
        return False
    return True


def field_error(field: str, message: str) -> PydanticCustomError:
    """The error of a validator that concerns another field than its own."""
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
