"""Parts of OpenAPI documents that FastAPI cannot derive: schemas of bodies that a route parses itself, and streams of events."""

from typing import Any, Literal

from pydantic import TypeAdapter


def whole_schema(shape: TypeAdapter[Any], mode: Literal["validation", "serialization"] = "validation") -> dict[str, Any]:
    """The JSON schema without references."""
    schema = shape.json_schema(mode=mode)
    definitions = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inlined(definitions[value["$ref"].rpartition("/")[2]])
        return {key: inlined(each) for key, each in value.items() if key != "discriminator"}  # its mapping holds $refs

    found: dict[str, Any] = inlined(schema)
    return found


def event_stream(*data: type[Any], last: str | None = None) -> dict[str, Any]:
    """The ``content`` of server-sent events whose ``data`` is JSON of one of these models, or the word that ends the stream.

    It is in the form of OpenAPI 3.2, which older readers skip.
    """
    models = [whole_schema(TypeAdapter(model), "serialization") for model in data]
    text: dict[str, Any] = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": models}}
    if last is not None:
        text = {"anyOf": [text, {"type": "string", "const": last}]}
    item = {"type": "object", "required": ["data"], "properties": {"event": {"type": "string"}, "data": text}}
    return {"text/event-stream": {"itemSchema": item}}
