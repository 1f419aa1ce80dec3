"""The table of feedback kinds. A new one is a file beside this one and a row here."""

from functools import cache
from typing import Annotated, Any, Union

from pydantic import ConfigDict, Field, TypeAdapter

from serving.feedback import comment, comparison, edit, score, thumb, withdrawal
from serving.feedback.kind import FeedbackKind, Shape
from storage.tables import by_name

KINDS: tuple[FeedbackKind, ...] = (comparison.KIND, thumb.KIND, score.KIND, comment.KIND, edit.KIND, withdrawal.KIND)


def adapter() -> TypeAdapter[Shape]:
    """Type adapter that parses a body as the kind named by its ``type``."""
    return _adapter(KINDS)


def kind_of(body: Shape) -> FeedbackKind:
    """The table row for a parsed body."""
    return next(row for row in KINDS if isinstance(body, row.body))


@cache
def _adapter(rows: tuple[FeedbackKind, ...]) -> TypeAdapter[Shape]:
    bodies = Union[tuple(row.body for row in by_name("feedback kind", rows).values())]  # type: ignore[valid-type]  # noqa: UP007
    shape: Any = Annotated[bodies, Field(discriminator="type")]
    return TypeAdapter(shape, config=ConfigDict(hide_input_in_errors=True))
