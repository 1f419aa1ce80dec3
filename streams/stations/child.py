"""Run a function in a child process, so that its memory is released to the system when it ends."""

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from typing import Any

from storage.errors import Overloaded, temporary_reason

EXIT_TIMEOUT = 10.0  # seconds that a process may take to end after its result

Progress = Callable[[str, int, int, dict[str, float], dict[str, str]], None]  # stage, step, steps, metrics, artifacts by name


@dataclass(frozen=True)
class _Returned:
    value: Any


@dataclass(frozen=True)
class _Raised:
    error: Exception


class ChildDied(Exception):
    """The process ended without a result: it was killed, or memory ran out."""


def in_child(work: Callable[..., Any], *arguments: Any, progress: Progress) -> Any:
    """Return ``work(*arguments, progress)``, computed in a new process.

    Parameters
    ----------
    work : a module-level function; it, its arguments and its result must be picklable
    progress : called in this process for each call in the child; an exception from it kills the child and propagates

    Raises
    ------
    Overloaded
        The work failed for a temporary reason.
    ChildDied
        The process ended without a result.
    Exception
        Any other exception of the work, with its traceback as a note.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    child = spawn.Process(target=_run, args=(there, logging.getLogger().level, work, arguments), daemon=True)
    child.start()
    there.close()  # so that recv() raises EOFError when the child ends
    try:
        while True:
            try:
                message = here.recv()
            except EOFError:
                child.join()
                raise ChildDied(f"the training process ended with code {child.exitcode} (it was killed, or memory ran out)") from None
            if isinstance(message, _Returned | _Raised):
                child.join(EXIT_TIMEOUT)  # a killed process would leave its semaphores behind
            if isinstance(message, _Returned):
                return message.value
            if isinstance(message, _Raised):
                raise message.error
            if isinstance(message, logging.LogRecord):
                logging.getLogger(message.name).handle(message)
            else:
                progress(*message)
    finally:
        child.kill()
        child.join()
        here.close()


def _run(there: Connection, level: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the parent, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger().setLevel(level)
    logging.getLogger().addHandler(_ToParent(there))

    def progress(*values: Any) -> None:
        _send(there, values)

    try:
        result: _Returned | _Raised = _Returned(work(*arguments, progress))
    except Exception as error:  # noqa: BLE001 - re-raised in the parent
        result = _Raised(_portable(error))
    _send(there, result)


_sending = threading.Lock()  # any thread may write log records


def _send(there: Connection, message: Any) -> None:
    with _sending:
        there.send(message)


class _ToParent(QueueHandler):
    """Sends log records to the parent, which handles them."""

    def __init__(self, there: Connection) -> None:
        super().__init__(there)  # type: ignore[arg-type]  # only ``enqueue`` uses the queue

    def enqueue(self, record: logging.LogRecord) -> None:
        _send(self.queue, record)  # type: ignore[arg-type]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """Make the error picklable: add its traceback as a note, and convert it to ``Overloaded`` if its cause, which is lost, is temporary."""
    note = "".join(traceback.format_exception(error))
    if (reason := temporary_reason(error)) is not None:
        error = Overloaded(reason)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - the class cannot be unpickled
        notes = getattr(error, "__notes__", ())
        error = RuntimeError(f"{type(error).__name__}: {error}")
        for each in notes:
            error.add_note(each)
    error.add_note(note)
    return error
