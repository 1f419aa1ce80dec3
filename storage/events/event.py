"""What all events have in common, and how one is made without validating it twice."""

from collections.abc import Iterable
from functools import cache
from typing import Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from storage.events.fields import Moment, Source
from storage.events.ids import new_id, now


class Part(BaseModel):
    """A value inside an event."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(Part):
    """What every event has. ``occurred_at`` is the clock of the server that accepted it."""

    kind: str
    schema_version: Literal[1] = 1
    event_id: UUID = Field(default_factory=new_id)
    occurred_at: Moment = Field(default_factory=now)
    source: Source


Kind = TypeVar("Kind", bound=Event)

_set_given: Any = BaseModel.__dict__["__pydantic_fields_set__"].__set__


def forget_given(event: Event) -> None:
    """Have ``event.model_fields_set`` name every field from here on.

    All events of a kind then share one set. With a set each, the events of a batch, more than a processor's caches hold anyhow, would take
    a quarter more memory.
    """
    _set_given(event, _fields(type(event)))


@cache
def _fields(kind: type[Event]) -> set[str]:
    return set(kind.model_fields)


def assembled(kind: type[Kind], values: dict[str, Any]) -> Kind:
    """An event of all its values, which have been validated, in the order of the model.

    This is what ``model_construct`` makes, which spends three quarters of its time on aliases and defaults that we do not have. The
    numbering makes one for every judgment.
    """
    event = kind.__new__(kind)
    put = object.__setattr__  # the model is frozen
    put(event, "__dict__", values)
    forget_given(event)
    put(event, "__pydantic_extra__", None)
    put(event, "__pydantic_private__", None)
    return event


def newest_version(model: type[Event]) -> int:
    """The ``schema_version`` that this program writes."""
    version: int = model.model_fields["schema_version"].default
    return version


def problems(errors: Iterable[Any]) -> str:
    """Pydantic's complaints as one line that names each field."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'event'}: {e['msg']}" for e in errors)
