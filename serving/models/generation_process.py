"""The process that generates replies, for the process that answers HTTP."""

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from serving.models.backend import NotReady
from serving.models.generation import Ask, Cancel, Delivered, Done, Load, Options, Serve, Stop, generate
from streams.child import start_child

log = logging.getLogger(__name__)

EXIT_TIMEOUT = 5.0  # seconds that it may take to end once it is told to


class GenerationProcess:
    """A running process. Its methods may be called from any thread and never wait for it.

    Parameters
    ----------
    deliver : called from another thread with what the process has generated since the last time
    ended : called from that thread when the process has ended, with a reason for people
    """

    def __init__(self, options: Options, *, deliver: Callable[[Sequence[Delivered]], None], ended: Callable[[str], None]) -> None:
        self._deliver, self._ended = deliver, ended
        self._child = start_child(generate, options)
        self._messages: queue.SimpleQueue[Ask | Cancel | Load | Serve | Stop] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._calls: dict[int, Future[bool]] = {}
        self._lock = threading.Lock()
        self._over: NotReady | None = None
        threading.Thread(target=self._send, name="to generation", daemon=True).start()
        self._receiver = threading.Thread(target=self._receive, name="from generation", daemon=True)
        self._receiver.start()

    def send(self, message: Ask | Cancel | Stop) -> None:
        """Send a message; one to a process that has ended is dropped."""
        self._messages.put(message)

    def load(self, version: str, adapter: Path | None) -> "Future[bool]":
        """Load the configured model with this adapter; tells whether it is small, or raises what loading raised."""
        return self._call(lambda number: Load(number, version, adapter))

    def serve(self, champion: str, challenger: str | None, standby: str | None) -> "Future[bool]":
        """Reply with these loaded versions from the next request on, and drop the others."""
        return self._call(lambda number: Serve(number, champion, challenger, standby))

    def kill(self) -> None:
        """End it without waiting for what is being generated."""
        self._child.kill()

    def stop(self) -> None:
        """End it."""
        self._messages.put(Stop())
        self._receiver.join(EXIT_TIMEOUT)
        self.kill()

    def _call(self, message: Callable[[int], Load | Serve]) -> "Future[bool]":
        number, found = next(self._numbers), Future[bool]()
        with self._lock:
            if self._over is not None:
                found.set_exception(self._over)
            else:
                self._calls[number] = found
        self._messages.put(message(number))
        return found

    def _send(self) -> None:
        while True:
            message = self._messages.get()
            try:
                self._child.send(message)
            except OSError:  # it has ended
                return
            if isinstance(message, Stop):
                return

    def _receive(self) -> None:
        while True:
            try:
                message: Any = self._child.receive()
            except (EOFError, OSError):
                break
            if isinstance(message, Done):
                with self._lock:
                    found = self._calls.pop(message.call)
                if message.error is not None:
                    found.set_exception(message.error)
                else:
                    found.set_result(message.small)
            else:
                self._deliver(message)
        reason = f"the process that generates replies has ended with code {self._child.join()}"
        self._messages.put(Stop())  # ends the sending thread
        with self._lock:
            self._over, calls, self._calls = NotReady(reason), self._calls, {}
        for found in calls.values():
            found.set_exception(self._over)
        self._ended(reason)
