"""Mapping between events and table rows, used to insert, to verify and to publish again.

Nested values become columns prefixed with the field's name (``a_text``, ``sampling_seed``); lists and dicts become JSON text, ids text.
Tables are declared in ``migrations``; if their columns differ from the events' fields, the first insert fails.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, get_args, get_origin
from uuid import UUID

import orjson
import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from storage.errors import EventUnreadable
from storage.events import EVENTS, Event, Kind

POSITION = ("log_topic", "log_partition", "log_offset")
INT64_LIMIT = 2**63
_ID = pa.uuid()


class Column(NamedTuple):
    """A column: its path in the event, its getter, and whether it holds JSON text, an id, or unbounded integers."""

    name: str
    path: tuple[str, ...]
    read: Callable[[Event], Any]
    is_json: bool
    is_id: bool
    is_unbounded_int: bool

    def write(self, values: Sequence[Any]) -> Sequence[Any]:
        """Convert attribute values for Arrow."""
        return list(map(_json, values)) if self.is_json else values


def table_of(kind: type[Event]) -> str:
    """Table name of a kind of event: ``PairDrawn`` → ``pair_drawn``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


TABLES: dict[type[Event], str] = {kind: table_of(kind) for kind in EVENTS.values()}


@cache
def columns_of(kind: type[Event]) -> tuple[Column, ...]:
    """Columns of ``kind``'s table, without the position columns."""
    return tuple(_columns(kind, ()))


def _columns(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Column]:
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        here = (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _columns(field.annotation, here)
        else:
            is_json = get_origin(field.annotation) in (tuple, dict)
            is_id = field.annotation in (UUID, UUID | None)
            is_unbounded_int = _is_unbounded_int(field) or (is_json and _holds_unbounded_int(field.annotation))
            yield Column("_".join(here), here, _reader(here, is_json), is_json, is_id, is_unbounded_int)


def _is_unbounded_int(field: FieldInfo) -> bool:
    """Whether the field is an integer without both a lower and an upper bound."""
    below, above = (any(hasattr(bound, name) for bound in field.metadata for name in names) for names in (("ge", "gt"), ("le", "lt")))
    return field.annotation in (int, int | None) and not (below and above)


def _holds_unbounded_int(annotation: Any) -> bool:
    """Whether it is a tuple of models with unbounded integers."""
    parts = [part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    return any(_is_unbounded_int(field) for part in parts for field in part.model_fields.values())


def _reader(path: tuple[str, ...], is_json: bool) -> Callable[[Event], Any]:
    """Getter of the column's value; a plain ``attrgetter`` for most columns."""
    get = attrgetter(".".join(path))
    return (lambda event: _json(get(event))) if is_json else get


def _json(value: Any) -> str:
    return orjson.dumps(value, default=vars).decode()  # parts of an event are models of JSON types


def row_of(event: Event) -> dict[str, Any]:
    """The event's row as DuckDB returns it through Arrow: times in UTC, ids as text.

    Raises
    ------
    EventUnreadable
        An integer does not fit into 64 bits. This project never writes one, but other producers may.
    """
    refuse_unstorable(event)
    values = ((column, column.read(event)) for column in columns_of(type(event)))
    return {column.name: str(value) if column.is_id and value is not None else value for column, value in values}


def refuse_unstorable(event: Event) -> None:
    """Raise ``EventUnreadable`` if the event cannot be stored; call it before storing."""
    for column in _UNBOUNDED[type(event)]:
        try:
            value = column.read(event)
        except TypeError as error:  # from orjson, for a nested integer
            raise EventUnreadable(f"{'.'.join(column.path)}: {error}: a number does not fit into 64 bits") from error
        if isinstance(value, int) and not -INT64_LIMIT <= value < INT64_LIMIT:
            raise EventUnreadable(f"{'.'.join(column.path)}: {value} does not fit into 64 bits")


# Integer columns that the model does not bound.
_UNBOUNDED = {kind: tuple(column for column in columns_of(kind) if column.is_unbounded_int) for kind in EVENTS.values()}


def event_of(kind: type[Kind], row: Mapping[str, Any]) -> Kind:
    """Reconstruct the event from its row; position columns are ignored."""
    fields: dict[str, Any] = {}
    for column in columns_of(kind):
        inner = fields
        for name in column.path[:-1]:
            inner = inner.setdefault(name, {})
        value = row[column.name]
        inner[column.path[-1]] = orjson.loads(value) if column.is_json else value
    return kind.model_validate(fields)


def table_of_events(kind: type[Event], events: Sequence[Event], schema: pa.Schema, positions: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Rows of events of one kind as an Arrow table; ``positions`` are the position columns."""
    values: dict[str, Sequence[Any]] = dict(positions)
    for part, columns in _parts_of(kind).items():
        # Read all attributes of one event (or part) at once: they are in one dict, which stays in the cache.
        parts = map(attrgetter(".".join(part)), events) if part else events
        names = [column.path[-1] for column in columns]
        taken = zip(*map(itemgetter(*names, *names[:1]), map(vars, parts)), strict=True)  # at least two names: one gives no tuple
        values |= {column.name: column.write(of_all) for column, of_all in zip(columns, taken, strict=False)}
    return arrow_of(values, schema)


@cache
def _parts_of(kind: type[Event]) -> dict[tuple[str, ...], list[Column]]:
    parts: dict[tuple[str, ...], list[Column]] = {}
    for column in columns_of(kind):
        parts.setdefault(column.path[:-1], []).append(column)
    return parts


def arrow_of(columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Build an Arrow table with the given schema."""
    arrays = [_ids(columns[field.name]) if field.type == _ID else pa.array(columns[field.name], field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def _ids(values: Sequence[UUID | None]) -> pa.Array:
    """UUID array built from raw bytes: a third of the time of ``pa.array``, which calls ``UUID.bytes`` for each id."""
    try:
        raw = b"".join([value.int.to_bytes(16, "big") for value in values])  # type: ignore[union-attr]  # None raises AttributeError
    except AttributeError:
        return pa.array(values, _ID)
    return pa.ExtensionArray.from_storage(_ID, pa.Array.from_buffers(_ID.storage_type, len(values), [None, pa.py_buffer(raw)]))
