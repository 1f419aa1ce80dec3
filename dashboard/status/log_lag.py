"""Lag of the warehouse behind the log, with a timeout so that an unreachable log does not block the pages."""

import threading
from collections.abc import Callable, Mapping

from storage.errors import FeedbackLoopError, Overloaded

TIMEOUT = 0.5  # seconds that a reading waits for the log; the call itself goes on in its thread


class LogLag:
    """Calls ``ask`` in its own thread, one call at a time. Not thread-safe."""

    def __init__(self, ask: Callable[[], Mapping[str, int]]) -> None:
        self._ask = ask
        self._asking: threading.Thread | None = None
        self._answer: Mapping[str, int] | FeedbackLoopError = {}

    def __call__(self) -> Mapping[str, int]:
        """The lag by topic, in entries.

        Raises
        ------
        Overloaded
            The log does not answer in time.
        """
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._run, name="log-lag", daemon=True)
            self._asking.start()
        self._asking.join(TIMEOUT)
        if self._asking.is_alive():
            raise self._answer if isinstance(self._answer, Overloaded) else Overloaded("it does not answer")
        if isinstance(self._answer, FeedbackLoopError):
            raise self._answer
        return self._answer

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        except FeedbackLoopError as error:
            self._answer = error
