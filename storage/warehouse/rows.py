"""How an event becomes a row of its table and comes back from it: one rule for every kind, used to write, to verify and to publish again.

A nested value becomes columns with its name in front (``a_text``, ``sampling_seed``), lists and open fields become JSON text, ids text.
The tables themselves are declared in ``migrations``; a column there that no event has, or the other way round, fails on the first insert.
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
LARGEST = 2**63
_ID = pa.uuid()


class Column(NamedTuple):
    """A column, its fields, what reads it from an event, and whether it holds JSON text, an id, a whole number without bounds."""

    name: str
    path: tuple[str, ...]
    read: Callable[[Event], Any]
    is_json: bool
    is_id: bool
    is_whole: bool

    def write(self, values: Sequence[Any]) -> Sequence[Any]:
        """The events' attributes as Arrow takes them."""
        return list(map(_json, values)) if self.is_json else values


def table_of(kind: type[Event]) -> str:
    """The table of a kind of event: ``PairDrawn`` → ``pair_drawn``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


TABLES: dict[type[Event], str] = {kind: table_of(kind) for kind in EVENTS.values()}


@cache
def columns_of(kind: type[Event]) -> tuple[Column, ...]:
    """The columns of ``kind``'s table, without the position on the log."""
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
            is_whole = _is_whole(field) or (is_json and _holds_whole(field.annotation))
            yield Column("_".join(here), here, _reader(here, is_json), is_json, is_id, is_whole)


def _is_whole(field: FieldInfo) -> bool:
    """Does it hold whole numbers that the model does not bound above and below?"""
    below, above = (any(hasattr(bound, name) for bound in field.metadata for name in names) for names in (("ge", "gt"), ("le", "lt")))
    return field.annotation in (int, int | None) and not (below and above)


def _holds_whole(annotation: Any) -> bool:
    """Is it a tuple of parts that have whole numbers of their own?"""
    parts = [part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    return any(_is_whole(field) for part in parts for field in part.model_fields.values())


def _reader(path: tuple[str, ...], is_json: bool) -> Callable[[Event], Any]:
    """What makes the column's value of an event; most are plain attributes, and those cost next to nothing."""
    get = attrgetter(".".join(path))
    return (lambda event: _json(get(event))) if is_json else get


def _json(value: Any) -> str:
    return orjson.dumps(value, default=vars).decode()  # the parts of an event are models of plain values


def row_of(event: Event) -> dict[str, Any]:
    """The event's row, as DuckDB gives it back through Arrow: times in UTC, ids as text.

    Raises
    ------
    EventUnreadable
        A whole number does not fit into 64 bits. No program of ours writes such, but the log may hold one.
    """
    refuse_unstorable(event)
    values = ((column, column.read(event)) for column in columns_of(type(event)))
    return {column.name: str(value) if column.is_id and value is not None else value for column, value in values}


def refuse_unstorable(event: Event) -> None:
    """Raise ``EventUnreadable`` where :func:`row_of` would; what is to be stored has passed here."""
    for column in _UNBOUNDED[type(event)]:
        try:
            value = column.read(event)
        except TypeError as error:  # orjson, of a number inside
            raise EventUnreadable(f"{'.'.join(column.path)}: {error}: a number does not fit into 64 bits") from error
        if isinstance(value, int) and not -LARGEST <= value < LARGEST:
            raise EventUnreadable(f"{'.'.join(column.path)}: {value} does not fit into 64 bits")


# The columns of whole numbers that neither Python nor the model bounds.
_UNBOUNDED = {kind: tuple(column for column in columns_of(kind) if column.is_whole) for kind in EVENTS.values()}


def event_of(kind: type[Kind], row: Mapping[str, Any]) -> Kind:
    """The event that ``row`` was made of; columns that are not the event's (its position) are passed over."""
    fields: dict[str, Any] = {}
    for column in columns_of(kind):
        inner = fields
        for name in column.path[:-1]:
            inner = inner.setdefault(name, {})
        value = row[column.name]
        inner[column.path[-1]] = orjson.loads(value) if column.is_json else value
    return kind.model_validate(fields)


def table_of_events(kind: type[Event], events: Sequence[Event], schema: pa.Schema, positions: Mapping[str, Sequence[Any]]) -> pa.Table:
    """The rows of many events of one kind as an Arrow table; ``positions`` are columns that no event has."""
    values: dict[str, Sequence[Any]] = dict(positions)
    for part, columns in _parts_of(kind).items():
        # All attributes of an event, or of a part of one, at once: they lie in one dict, and the next one's may be far from it.
        parts = map(attrgetter(".".join(part)), events) if part else events
        names = [column.path[-1] for column in columns]
        taken = zip(*map(itemgetter(*names, *names[:1]), map(vars, parts)), strict=True)  # of one name alone it would make no tuple
        values |= {column.name: column.write(of_all) for column, of_all in zip(columns, taken, strict=False)}
    return arrow_of(values, schema)


@cache
def _parts_of(kind: type[Event]) -> dict[tuple[str, ...], list[Column]]:
    parts: dict[tuple[str, ...], list[Column]] = {}
    for column in columns_of(kind):
        parts.setdefault(column.path[:-1], []).append(column)
    return parts


def arrow_of(columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """The columns as an Arrow table of the warehouse's types."""
    arrays = [_ids(columns[field.name]) if field.type == _ID else pa.array(columns[field.name], field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def _ids(values: Sequence[UUID | None]) -> pa.Array:
    """Arrow asks each id for its bytes by a call of Python; of their numbers it takes a third of the time."""
    try:
        raw = b"".join([value.int.to_bytes(16, "big") for value in values])  # type: ignore[union-attr]  # of None there is no number
    except AttributeError:
        return pa.array(values, _ID)
    return pa.ExtensionArray.from_storage(_ID, pa.Array.from_buffers(_ID.storage_type, len(values), [None, pa.py_buffer(raw)]))
