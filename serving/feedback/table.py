"""The table of feedback kinds. A new one is a file beside this one and a row here."""

from functools import cache
from typing import Annotated, Union

from pydantic import Field, TypeAdapter

from serving.feedback import comparison, edit, thumb
from serving.feedback.kind import FeedbackKind, Shape

KINDS: tuple[FeedbackKind, ...] = (comparison.KIND, thumb.KIND, edit.KIND)


def adapter() -> TypeAdapter[Shape]:
    """Reads a body as the kind that its ``type`` names."""
    return _adapter(KINDS)


def kind_of(body: Shape) -> FeedbackKind:
    """The row of a body that has been read."""
    return next(row for row in KINDS if isinstance(body, row.body))


@cache
def _adapter(rows: tuple[FeedbackKind, ...]) -> TypeAdapter[Shape]:
    bodies = Union[tuple(row.body for row in rows)]  # type: ignore[valid-type]  # noqa: UP007
    found: TypeAdapter[Shape] = TypeAdapter(Annotated[bodies, Field(discriminator="type")])  # type: ignore[arg-type]  # a type made here
    return found
