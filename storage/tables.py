"""Tables of rows with unique names, such as training methods, audits and pages: a tuple in the file that declares its rows."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from storage.errors import ConfigurationError


class Named(Protocol):
    """A row of a table."""

    @property
    def name(self) -> str: ...


Row = TypeVar("Row", bound=Named)


def by_name(what: str, rows: Iterable[Row]) -> dict[str, Row]:
    """The rows by name, in the table's order.

    Parameters
    ----------
    what : what a row is, for messages: "training method"

    Raises
    ------
    ConfigurationError
        Two rows have the same name.
    """
    named: dict[str, Row] = {}
    for row in rows:
        if row.name in named:
            raise ConfigurationError(f"two rows of the table of {what}s are named {row.name!r}: rename one of them")
        named[row.name] = row
    return named


def row_named(name: str, what: str, rows: Iterable[Row]) -> Row:
    """The row with this name.

    Raises
    ------
    ConfigurationError
        No row has it, or two rows have the same name.
    """
    named = by_name(what, rows)
    if name not in named:
        raise ConfigurationError(f"there is no {what} {name!r}; choose one of {', '.join(named)}")
    return named[name]
