"""How far the warehouse is behind the log, asked so that a log that is away holds up no page."""

import threading
from collections.abc import Callable, Mapping

from storage.errors import FeedbackLoopError, Overloaded

PATIENCE = 0.5  # seconds that a reading waits for the log; the question itself goes on


class LogLag:
    """Calls ``ask`` in a thread of its own, one question at a time. One caller at a time."""

    def __init__(self, ask: Callable[[], Mapping[str, int]]) -> None:
        self._ask = ask
        self._asking: threading.Thread | None = None
        self._answer: Mapping[str, int] | FeedbackLoopError = {}

    def __call__(self) -> Mapping[str, int]:
        """What the log answers now.

        Raises
        ------
        Overloaded
            It does not answer.
        """
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._run, name="log-lag", daemon=True)
            self._asking.start()
        self._asking.join(PATIENCE)
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
