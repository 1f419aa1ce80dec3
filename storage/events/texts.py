"""Walk over the texts, vectors and groups of an event, wherever they are in it."""

from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from storage.events.fields import Group, Text
from storage.events.vector import Vector

Part = TypeVar("Part", bound=BaseModel)


def with_texts(part: Part, change: Callable[[str], str], *, everything: bool = False) -> Part:
    """A copy of an event with ``change`` applied to every field of type ``Text``, also in its parts; the same object if none changes.

    With ``everything``, so are vectors and groups.
    """
    update: dict[str, Any] = {}
    for name, shape in _fields_of(type(part)):
        value = getattr(part, name)
        if value is None or (shape in ("vector", "groups") and not everything):
            continue
        if shape in ("text", "vector"):
            new: Any = change(value)
        elif shape == "groups":
            new = {attribute: change(group) for attribute, group in value.items()}
        elif shape == "part":
            new = with_texts(value, change, everything=everything)
        else:
            new = tuple(with_texts(each, change, everything=everything) for each in value)
            new = value if all(one is other for one, other in zip(new, value, strict=True)) else new
        if new is not value and new != value:
            update[name] = new
    return part.model_copy(update=update) if update else part


@cache
def _fields_of(model: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    """The fields that hold texts, so that a new event needs no line here: a ``text``, a ``vector``, ``groups``, a ``part`` or ``parts``."""
    hints = get_type_hints(model, include_extras=True)
    shapes = ((name, _shape(hints[name])) for name in model.model_fields)
    return tuple((name, shape) for name, shape in shapes if shape is not None)


def _shape(hint: Any) -> str | None:
    if hint == Text:
        return "text"
    if hint == Vector:
        return "vector"
    origin = get_origin(hint)
    if origin is Annotated:
        return _shape(get_args(hint)[0])
    if origin in (Union, UnionType):
        return next((shape for shape in map(_shape, get_args(hint)) if shape is not None), None)
    if origin is dict:
        return "groups" if get_args(hint)[1] == Group else None
    if origin is tuple:
        inner = get_args(hint)[0] if get_args(hint) else None
        return "parts" if _shape(inner) == "part" else None
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return "part" if _fields_of(hint) else None
    return None
