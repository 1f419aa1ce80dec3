"""What routes share that pass a request to the intake: whose it is, and errors by the request's own field names."""

from typing import Literal, get_args

from fastapi import Request

from storage.errors import InputRefused

ClientSource = Literal["product", "simulation"]
SOURCES: tuple[ClientSource, ...] = get_args(ClientSource)
SOURCE_HEADER = "X-FeedbackLoop-Source"

SOURCE_PARAMETER = {
    "name": SOURCE_HEADER,
    "in": "header",
    "required": False,
    "description": "Whose request it is: simulations mark theirs.",
    "schema": {"type": "string", "enum": list(SOURCES), "default": "product"},
}


def source_of(request: Request) -> ClientSource:
    """The source that the request's header names; ``product`` if there is none."""
    given = request.headers.get(SOURCE_HEADER, "product")
    for source in SOURCES:
        if given == source:
            return source
    raise InputRefused(f"{SOURCE_HEADER}: {given[:80]!r} is neither product nor simulation", SOURCE_HEADER)


class request_fields:
    """Context manager that renames the field of an :class:`InputRefused` from the event's name to the request's."""

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, InputRefused) or error.field is None:
            return
        head, dot, tail = error.field.partition(".")
        if head in self._fields:
            new = f"{self._fields[head]}{dot}{tail}"
            message = str(error).removeprefix(error.field)
            raise InputRefused(f"{new}{message}", new) from error
