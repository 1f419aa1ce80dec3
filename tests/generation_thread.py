"""The generation process as a thread of this one: a process would import torch anew, which takes seconds.

``tests/serving/test_generation_process.py`` and the system tests run the real one.
"""

import threading
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from serving.models.generation import Generation, Options, Stop
from streams.child import Parent


class GenerationThread:
    """What ``streams.child.start_child`` returns for a process."""

    def __init__(self, work: Callable[..., None], options: Options) -> None:
        self._connection, there = Pipe()
        self.generation = Generation(Parent(there), options)
        self._thread = threading.Thread(target=_generate, args=(self.generation, there), daemon=True)
        self._thread.start()

    def send(self, message: Any) -> None:
        self._connection.send(message)

    def receive(self) -> Any:
        return self._connection.recv()

    def join(self, timeout: float | None = None) -> int:
        self._thread.join(timeout)
        return 0

    def kill(self) -> None:
        if self._thread.is_alive():
            self._connection.send(Stop())


def _generate(generation: Generation, there: Connection) -> None:
    with there:
        generation.run()
