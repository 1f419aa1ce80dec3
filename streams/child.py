"""Work in a child process: its log arrives in the parent, errors can cross, and it ends with the parent.

:func:`in_child` runs one function, so that its memory is released to the system when it ends. :func:`start_child` leaves it to the caller
what is said.
"""

import logging
import multiprocessing
import os
import pickle
import select
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
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
    child = start_child(_run, work, arguments)
    try:
        while True:
            try:
                message = child.receive()
            except EOFError:
                code = child.join()
                raise ChildDied(f"the training process ended with code {code} (it was killed, or memory ran out)") from None
            if isinstance(message, _Returned | _Raised):
                child.join(EXIT_TIMEOUT)  # a killed process would leave its semaphores behind
            if isinstance(message, _Returned):
                return message.value
            if isinstance(message, _Raised):
                raise message.error
            progress(*message)
    finally:
        child.kill()


def _run(parent: "Parent", work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    def progress(*values: Any) -> None:
        parent.send(values)

    try:
        result: _Returned | _Raised = _Returned(work(*arguments, progress))
    except Exception as error:  # noqa: BLE001 - re-raised in the parent
        result = _Raised(portable(error))
    parent.send(result)


class Child:
    """A child process, for its parent. One thread may send while another one receives."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self._process, self._connection = process, connection

    def send(self, message: Any) -> None:
        """Send a picklable message; waits while the child has too much to read. Raises ``OSError`` if it has ended."""
        self._connection.send(message)

    def receive(self) -> Any:
        """Wait for the next message; log records are handled on the way. Raises ``EOFError`` when the child has ended."""
        while True:
            try:
                message = self._connection.recv()
            except ConnectionResetError:
                raise EOFError from None
            if not isinstance(message, logging.LogRecord):
                return message
            logging.getLogger(message.name).handle(message)

    def join(self, timeout: float | None = None) -> int | None:
        """Wait until it has ended; return its exit code, or None if it has not."""
        self._process.join(timeout)
        return self._process.exitcode

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.join()


class Parent:
    """The parent, for its child process. Any thread may send."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._sending = connection, threading.Lock()
        self._readable = select.poll()  # kept: Connection.poll() makes a selector for each call
        self._readable.register(connection.fileno(), select.POLLIN)

    def send(self, message: Any) -> None:
        """Send a picklable message."""
        with self._sending:
            self._connection.send(message)

    def receive(self) -> Any:
        """Wait for the next message."""
        return self._connection.recv()

    def has_sent(self, timeout: float | None) -> bool:
        """Whether a message, or the end of the parent, can be received within ``timeout`` seconds; None waits for it."""
        return bool(self._readable.poll(None if timeout is None else 1000 * timeout))


def start_child(work: Callable[..., None], *arguments: Any) -> Child:
    """Run ``work(parent, *arguments)`` in a new process; a module-level function with picklable arguments."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_start, args=(there, logging.getLogger().level, work, arguments), daemon=True)
    process.start()
    there.close()  # so that receive() raises EOFError when the child ends
    return Child(process, here)


def _start(there: Connection, level: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the parent, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    parent = Parent(there)
    logging.getLogger().setLevel(level)
    logging.getLogger().addHandler(_ToParent(parent))
    work(parent, *arguments)


class _ToParent(QueueHandler):
    """Sends log records to the parent, which handles them."""

    def __init__(self, parent: Parent) -> None:
        super().__init__(parent)  # type: ignore[arg-type]  # only ``enqueue`` uses the queue

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.send(record)  # type: ignore[attr-defined]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def portable(error: Exception) -> Exception:
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
