"""Types of fields in request bodies, whose published schemas say exactly what is accepted."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from storage.events import Name


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# After the bounds of an int, so that its schema keeps them. JSON has one kind of number: 5.0 is an integer there.
WHOLE = BeforeValidator(_whole)
# A name of at most 200 characters, apart from spaces around it.
_NAME_SCHEMA = WithJsonSchema({"type": "string", "pattern": r"^\s*[^\s\x00-\x1f](?:[^\x00-\x1f]{0,198}[^\s\x00-\x1f])?\s*$"})
GivenName = Annotated[Name, _NAME_SCHEMA]
WebOrigin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+$")]  # of pages, as browsers send it
PlainName = Annotated[str, _NAME_SCHEMA]  # checked where it is used, with a message of its own

# For a dict with keys of a pattern: pydantic's schema leaves out that other keys are refused.
NO_OTHER_KEYS = Field(json_schema_extra={"additionalProperties": False})


def given(**types: str) -> dict[str, Any]:
    """The JSON schema of objects in which these fields are given, and of these types rather than null."""
    return {"required": list(types), "properties": {name: {"type": kind} for name, kind in types.items()}}


def absent(*names: str) -> dict[str, Any]:
    """The JSON schema of objects in which these fields are null or left out."""
    return {"properties": {name: {"type": "null"} for name in names}}
