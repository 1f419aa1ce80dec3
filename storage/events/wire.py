"""How an event travels: JSON in UTF-8, one pass of pydantic each way; what is of an older version is brought up to the newest first."""

from typing import Annotated, Any, Union

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from storage.errors import EventUnreadable, SchemaTooNew
from storage.events import EVENTS, Event, PreferenceJoined, forget_given, newest_version, problems
from storage.events.upcasters import upcast

# What a new event is given and an event on the log has to bring: else each reader would give it another id and another time.
WRITTEN = frozenset({"schema_version", "event_id", "occurred_at"})

# The adapter's own methods first look at options, a fifth of the time.
_ANY: Any = TypeAdapter(Annotated[Union[tuple(EVENTS.values())], Field(discriminator="kind")]).validator  # type: ignore[arg-type]  # noqa: UP007


def encode(event: Event) -> bytes:
    """The event as it travels: JSON in UTF-8, fields in the order of the model."""
    return orjson.dumps(event.model_dump(mode="json"))


def decode(raw: bytes) -> Event:
    """The event in ``raw``.

    Raises
    ------
    SchemaTooNew
        The event's ``schema_version`` is newer than this program knows; the reader has to be upgraded.
    EventUnreadable
        Anything else that keeps it from being one of ``EVENTS``; the message names the field.
    """
    try:
        event: Event = _ANY.validate_json(raw)
    except ValidationError:
        event = _decode_slowly(raw)
    if not event.__pydantic_fields_set__ >= WRITTEN:  # model_fields_set, without a call
        raise _unwritten(event)
    if type(event) is PreferenceJoined and not event.judgment.__pydantic_fields_set__ >= WRITTEN:
        raise _unwritten(event.judgment)
    forget_given(event)
    return event


def _unwritten(event: Event) -> EventUnreadable:
    missing = ", ".join(sorted(WRITTEN - event.model_fields_set))
    return EventUnreadable(f"{event.kind}: {missing}: missing; only a new event is given these, one that was written has them")


def _decode_slowly(raw: bytes) -> Event:
    """What is of an older version or says why not; everything else has been read in one pass by ``_ANY``."""
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
