"""Everything that can go wrong in a way that somebody can act on.

::

    FeedbackLoopError
    ├── ConfigurationError      a setting, file or argument is wrong; the person who started the program mends it (exit code 2)
    │   ├── ModelNotFound       a model folder or id that is not there
    │   ├── PortInUse           another program listens there
    │   └── NotReachable        a hub or server that this command needs does not answer
    ├── InputRefused            what a client sent is not acceptable (4xx, names the field)
    ├── Overloaded              something takes or gives nothing just now: the log, a full disk (503; a process ends with 75)
    ├── EventError              something on the bus
    │   ├── EventUnreadable     bytes that are no event: quarantine, go on
    │   ├── SchemaTooNew        written by a newer program: the reader stops and says so
    │   └── OffsetLost          the log no longer holds what was asked for: replay
    ├── WarehouseError          the warehouse and the log disagree, or another process holds the file
    ├── ArtifactError           an artifact is missing or does not have the hash that names it
    ├── TrainingError           a run cannot go on; names the stage
    │   └── DataRefused         the snapshot failed an expectation, or holds too little to train on
    └── UpstreamError           the language model behind the chat API failed (502)

:func:`temporary_reason` tells what only needs time from what somebody has to mend.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

NEEDS_TIME: Mapping[int, str] = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "the disk does not answer",
    errno.EBUSY: "a file is busy",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "memory is full",
}
SQLITE_NEEDS_TIME: Mapping[int, str] = {
    sqlite3.SQLITE_BUSY: "the database is busy",
    sqlite3.SQLITE_LOCKED: "the database is busy",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not answer",
    sqlite3.SQLITE_NOMEM: "memory is full",
}
# DuckDB has no error codes; after an error while it writes it says only that its database was invalidated, until the file is opened again.
DUCKDB_NEEDS_TIME: Mapping[str, str] = {
    "no space left": "the disk is full",
    "disk quota": "the disk quota is used up",
    "input/output error": "the disk does not answer",
    "out of memory": "memory is full",
    "has been invalidated": "the warehouse could not be written and has to be opened again",
}


class FeedbackLoopError(Exception):
    """Base of all; the message says what was wrong, with the value, and what to do."""


class ConfigurationError(FeedbackLoopError):
    """A setting, file or argument is wrong."""


class ModelNotFound(ConfigurationError):
    """A model folder or id that is not there."""


class PortInUse(ConfigurationError):
    """Another program listens on that port."""


class NotReachable(ConfigurationError):
    """A server that this command needs does not answer."""


class InputRefused(FeedbackLoopError):
    """What a client sent is not acceptable. ``field`` names the part at fault."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Overloaded(FeedbackLoopError):
    """Something takes or gives nothing just now (the log, a full disk); try again after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EventError(FeedbackLoopError):
    """Something on the bus."""


class EventUnreadable(EventError):
    """Bytes that are no event."""


class SchemaTooNew(EventError):
    """An event written by a newer program."""


class OffsetLost(EventError):
    """The log no longer holds the offset that was asked for."""


class WarehouseError(FeedbackLoopError):
    """The warehouse and the log disagree, or another process holds the file."""


class ArtifactError(FeedbackLoopError):
    """An artifact is missing or does not have the hash that names it."""


class TrainingError(FeedbackLoopError):
    """A run cannot go on."""


class DataRefused(TrainingError):
    """The snapshot failed an expectation, or holds too little to train on."""


class UpstreamError(FeedbackLoopError):
    """The language model behind the chat API failed."""


def temporary_reason(error: BaseException) -> str | None:
    """Why ``error`` will pass by itself, in one line; ``None`` where somebody has to do something about it.

    What an error was raised from counts as well: a setting that "cannot be used" because the disk is full is not a wrong setting.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Overloaded):
            return str(cause)
        if (kind := _kind(cause)) is not None:
            return f"{kind} ({_first_line(cause)})"
        cause = cause.__cause__
    return None


def exit_code(error: BaseException) -> int:
    """What a command or process ends with: 75 for what will pass by itself, 2 for what a person can mend, 1 for anything else."""
    if temporary_reason(error) is not None:
        return os.EX_TEMPFAIL
    return 2 if isinstance(error, ConfigurationError) else 1


@contextmanager
def trying_again() -> Iterator[None]:
    """Raise :class:`Overloaded` for what will pass by itself: around work that can simply be done again.

    DuckDB's errors are left alone: after one its file has to be opened again, and the process ends.
    """
    try:
        yield
    except Overloaded:
        raise
    except Exception as error:
        if _is_of_duckdb(error) or (reason := temporary_reason(error)) is None:
            raise
        raise Overloaded(f"{reason}; trying again") from error


def _kind(error: BaseException) -> str | None:
    """What is short, where time alone gives more of it."""
    if isinstance(error, OSError):
        return NEEDS_TIME.get(error.errno or 0)
    if isinstance(error, sqlite3.Error):
        return SQLITE_NEEDS_TIME.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if _is_of_duckdb(error):
        said = str(error).lower()
        return next((kind for words, kind in DUCKDB_NEEDS_TIME.items() if words in said), None)
    if _library(error) in ("kafka", "aiokafka") and getattr(error, "retriable", False):
        return "Kafka does not answer"
    return None


def _is_of_duckdb(error: BaseException) -> bool:
    return _library(error) in ("duckdb", "_duckdb")


def _library(error: BaseException) -> str:
    """Whose error it is; by name, since importing DuckDB or Kafka's client takes a while and most commands need neither."""
    return type(error).__module__.split(".")[0]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
