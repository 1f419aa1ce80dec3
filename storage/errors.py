"""The exception hierarchy: one class for each failure that a caller or operator can act on.

::

    FeedbackLoopError
    ├── ConfigurationError      a setting, file or argument is wrong (exit code 2)
    │   ├── ModelNotFound       a model folder or id that does not exist
    │   ├── PortInUse           another program listens on that port
    │   └── NotReachable        a hub or server that this command needs does not answer
    ├── InputRefused            a client's request is invalid (4xx, names the field)
    ├── NotAllowed              the caller may not do this (403)
    ├── Overloaded              a resource is temporarily unavailable: the log, a full disk (503; exit code 75)
    │   └── QueueFull           too many requests wait for a model (429)
    ├── EventError              an event or offset on the bus
    │   ├── EventUnreadable     bytes that are not an event: quarantine it and continue
    │   ├── SchemaTooNew        written by a newer program: the reader stops and reports it
    │   ├── TextLost            the key of a sealed text is gone, or the text was altered
    │   └── OffsetLost          the log no longer holds the requested offset: replay
    ├── WarehouseError          the warehouse and the log disagree, or another process holds the file
    ├── ArtifactError           an artifact is missing or does not have the hash that names it
    ├── AttestationError        a promotion's record does not verify, or a key to sign with cannot be used
    ├── TrainingError           a run failed; names the stage
    │   ├── DataRefused         the snapshot failed an expectation, or holds too little to train on
    │   └── Diverged            the loss or the weights are no longer finite numbers
    └── UpstreamError           the language model behind the chat API failed (502)

:func:`temporary_reason` tells transient errors from those that need intervention.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

TRANSIENT_OS_ERRORS: Mapping[int, str] = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "the disk does not answer",
    errno.EBUSY: "a file is busy",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "memory is full",
}
TRANSIENT_SQLITE_ERRORS: Mapping[int, str] = {
    sqlite3.SQLITE_BUSY: "the database is busy",
    sqlite3.SQLITE_LOCKED: "the database is busy",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not answer",
    sqlite3.SQLITE_NOMEM: "memory is full",
}
# DuckDB has no error codes. After a failed write it reports only that the database was invalidated, until the file is reopened.
TRANSIENT_DUCKDB_ERRORS: Mapping[str, str] = {
    "no space left": "the disk is full",
    "disk quota": "the disk quota is used up",
    "input/output error": "the disk does not answer",
    "out of memory": "memory is full",
    "has been invalidated": "the warehouse could not be written and has to be opened again",
}


class FeedbackLoopError(Exception):
    """Base class. Messages say what was wrong, with the value, and what to do."""


class ConfigurationError(FeedbackLoopError):
    """A setting, file or argument is wrong."""


class ModelNotFound(ConfigurationError):
    """A model folder or id that does not exist."""


class PortInUse(ConfigurationError):
    """Another program listens on that port."""


class NotReachable(ConfigurationError):
    """A server that this command needs does not answer."""


class InputRefused(FeedbackLoopError):
    """A client's request is invalid. ``field`` names the part at fault."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotAllowed(FeedbackLoopError):
    """The caller may not do this."""


class Overloaded(FeedbackLoopError):
    """A resource is temporarily unavailable (the log, a full disk); retry after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Overloaded):
    """Too many requests wait for a model; retry after ``retry_after`` seconds."""


class EventError(FeedbackLoopError):
    """An error about an event or an offset on the bus."""


class EventUnreadable(EventError):
    """Bytes that are not an event."""


class SchemaTooNew(EventError):
    """An event written by a newer program."""


class TextLost(EventError):
    """A sealed text whose key is not in the key store, or that was altered."""


class OffsetLost(EventError):
    """The log no longer holds the requested offset."""


class WarehouseError(FeedbackLoopError):
    """The warehouse and the log disagree, or another process holds the file."""


class ArtifactError(FeedbackLoopError):
    """An artifact is missing or does not have the hash that names it."""


class AttestationError(FeedbackLoopError):
    """A promotion's record is missing or does not verify, or a signing key cannot be used."""


class TrainingError(FeedbackLoopError):
    """A training run failed."""


class DataRefused(TrainingError):
    """The snapshot failed an expectation, or holds too little to train on."""


class Diverged(TrainingError):
    """The loss or the weights of a training are no longer finite numbers."""


class UpstreamError(FeedbackLoopError):
    """The language model behind the chat API failed."""


def temporary_reason(error: BaseException) -> str | None:
    """Return a one-line reason if ``error`` is transient; ``None`` if it needs intervention.

    The ``__cause__`` chain counts too: a setting that "cannot be used" because the disk is full is not a wrong setting.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Overloaded):
            return str(cause)
        if (kind := _transient_kind(cause)) is not None:
            return f"{kind} ({_first_line(cause)})"
        cause = cause.__cause__
    return None


def exit_code(error: BaseException) -> int:
    """Exit code of a command or process: 75 (EX_TEMPFAIL) for transient errors, 2 for configuration errors, 1 for anything else."""
    if temporary_reason(error) is not None:
        return os.EX_TEMPFAIL
    return 2 if isinstance(error, ConfigurationError) else 1


@contextmanager
def trying_again() -> Iterator[None]:
    """Convert transient errors into :class:`Overloaded`, around work that can be retried.

    DuckDB errors pass through: the file must be reopened after one, so the process exits.
    """
    try:
        yield
    except Overloaded:
        raise
    except Exception as error:
        if _is_duckdb_error(error) or (reason := temporary_reason(error)) is None:
            raise
        raise Overloaded(f"{reason}; trying again") from error


def _transient_kind(error: BaseException) -> str | None:
    """The kind of a transient error; None for any other."""
    if isinstance(error, OSError):
        return TRANSIENT_OS_ERRORS.get(error.errno or 0)
    if isinstance(error, sqlite3.Error):
        return TRANSIENT_SQLITE_ERRORS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if _is_duckdb_error(error):
        message = str(error).lower()
        return next((kind for words, kind in TRANSIENT_DUCKDB_ERRORS.items() if words in message), None)
    if _library(error) in ("kafka", "aiokafka") and getattr(error, "retriable", False):
        return "Kafka does not answer"
    return None


def _is_duckdb_error(error: BaseException) -> bool:
    return _library(error) in ("duckdb", "_duckdb")


def _library(error: BaseException) -> str:
    """The library that defines the error; compared by name, since most commands need not import DuckDB or a Kafka client."""
    return type(error).__module__.split(".")[0]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
