"""Refusals by the names of the fields that the client has sent, where a request was answered as a chat."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from serving.requests import FieldRefused
from storage.errors import InputRefused


@contextmanager
def renamed(fields: Mapping[str, str]) -> Iterator[None]:
    """Rename the field of an :class:`InputRefused`. The place of a message is left out: it need not be that of an item of the request."""
    try:
        yield
    except InputRefused as error:
        given = error.field or ""
        head, _, rest = given.partition(".")
        if head not in fields:
            raise
        field = ".".join(filter(None, (fields[head], "" if head == "messages" else rest)))
        message = str(error)
        if message.startswith(given):
            message = field + message.removeprefix(given)
        raise FieldRefused(message, field, getattr(error, "code", "invalid_value")) from error
