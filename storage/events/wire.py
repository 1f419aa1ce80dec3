"""Wire format: JSON in UTF-8, validated by pydantic in one pass; older versions are upcast first."""

from typing import Annotated, Any, Union

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from storage.errors import EventUnreadable, SchemaTooNew
from storage.events import EVENTS, Event, PreferenceJoined, forget_given, newest_version, problems
from storage.events.upcasters import upcast

# Defaults of a new event, required of an event on the log: otherwise each reader would generate its own id and time.
WRITTEN = frozenset({"schema_version", "event_id", "occurred_at"})

# Bypasses TypeAdapter's methods, whose option handling takes a fifth of the time.
_ANY: Any = TypeAdapter(
    Annotated[Union[tuple(EVENTS.values())], Field(discriminator="kind")],  # type: ignore[arg-type]  # noqa: UP007
    config=ConfigDict(hide_input_in_errors=True),
).validator


def encode(event: Event) -> bytes:
    """Serialize an event to JSON in UTF-8, fields in the order of the model."""
    return orjson.dumps(event.model_dump(mode="json"))


def decode(raw: bytes) -> Event:
    """Parse an event.

    Raises
    ------
    SchemaTooNew
        The event's ``schema_version`` is newer than this program knows; the reader has to be upgraded.
    EventUnreadable
        It is not a valid event of any kind in ``EVENTS``; the message names the field.
    """
    try:
        event: Event = _ANY.validate_json(raw)
    except ValidationError:
        event = _decode_slowly(raw)
    if not event.__pydantic_fields_set__ >= WRITTEN:  # model_fields_set, without a call
        raise _incomplete(event)
    if type(event) is PreferenceJoined and not event.judgment.__pydantic_fields_set__ >= WRITTEN:
        raise _incomplete(event.judgment)
    forget_given(event)
    return event


def _incomplete(event: Event) -> EventUnreadable:
    missing = ", ".join(sorted(WRITTEN - event.model_fields_set))
    return EventUnreadable(f"{event.kind}: {missing}: missing; a stored event must have it")


def _decode_slowly(raw: bytes) -> Event:
    """Slow path, for what ``_ANY`` does not accept: upcast an older version, or raise the reason."""
    try:
        fields: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise EventUnreadable(f"not JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
        raise EventUnreadable("not an event: 'kind' is missing")
    model = EVENTS.get(fields["kind"])
    if model is None:
        raise EventUnreadable(f"unknown kind {fields['kind'][:80]!r}")
    version, newest = fields.get("schema_version"), newest_version(model)
    if isinstance(version, int) and version > newest:
        raise SchemaTooNew(f"{fields['kind']} has schema_version {version}, this program reads up to {newest}: upgrade it")
    try:
        if isinstance(version, int) and 1 <= version < newest:
            raw = orjson.dumps(upcast(fields, version, newest))
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise EventUnreadable(f"{fields['kind']}: {problems(error.errors())}") from error
