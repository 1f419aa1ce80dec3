"""Work in a process of its own, so that the memory it took goes back to the machine when it ends."""

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

Progress = Callable[[str, int, int, dict[str, float], dict[str, str]], None]  # stage, step, steps, metrics, artifacts by name


@dataclass(frozen=True)
class _Returned:
    value: Any


@dataclass(frozen=True)
class _Raised:
    error: Exception


class ChildDied(Exception):
    """The process ended without an answer: it was killed, or memory ran out."""


def in_child(work: Callable[..., Any], *arguments: Any, progress: Progress) -> Any:
    """What ``work(*arguments, progress)`` returns, computed in a new process.

    Parameters
    ----------
    work : a function of a module; it, its arguments and its result have to be picklable
    progress : called in this process for each call there; what it raises is raised here, and ends the other process at once

    Raises
    ------
    Overloaded
        The work failed for a reason that will pass by itself.
    ChildDied
        The process ended without an answer.
    Exception
        Whatever else the work raised; a note on it holds the traceback.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    child = spawn.Process(target=_run, args=(there, logging.getLogger().level, work, arguments), daemon=True)
    child.start()
    there.close()  # so that its end is the end of the pipe
    try:
        while True:
            try:
                said = here.recv()
            except EOFError:
                child.join()
                raise ChildDied(f"the process that trains ended with code {child.exitcode} (it was killed, or memory ran out)") from None
            if isinstance(said, _Returned):
                return said.value
            if isinstance(said, _Raised):
                raise said.error
            if isinstance(said, logging.LogRecord):
                logging.getLogger(said.name).handle(said)
            else:
                progress(*said)
    finally:
        child.kill()
        child.join()
        here.close()


def _run(there: Connection, level: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, and that ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger().setLevel(level)
    logging.getLogger().addHandler(_ToParent(there))

    def progress(*said: Any) -> None:
        _send(there, said)

    try:
        answer: _Returned | _Raised = _Returned(work(*arguments, progress))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised in the parent
        answer = _Raised(_portable(error))
    _send(there, answer)


_sending = threading.Lock()  # the log may be written by any thread


def _send(there: Connection, what: Any) -> None:
    with _sending:
        there.send(what)


class _ToParent(QueueHandler):
    """The parent writes the log of both."""

    def __init__(self, there: Connection) -> None:
        super().__init__(there)  # type: ignore[arg-type]  # a queue to it is whatever its ``enqueue`` takes

    def enqueue(self, record: logging.LogRecord) -> None:
        _send(self.queue, record)  # type: ignore[arg-type]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error as it can be sent: with its traceback as a note, and ``Overloaded`` where the cause, which is not sent, says so."""
    note = "".join(traceback.format_exception(error))
    if (reason := temporary_reason(error)) is not None:
        error = Overloaded(reason)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an error whose class cannot be built again
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
