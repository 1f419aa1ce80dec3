"""A circuit breaker: requests to a server that keeps failing are refused at once, and one trial after a while shows whether it is back."""

import math
import time
from collections.abc import Callable

from storage.errors import Overloaded


class CircuitBreaker:
    """Opens after ``failures`` failures in a row, for ``seconds``; then one request is let through at a time, until one succeeds."""

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._seconds, self._clock = failures, seconds, clock
        self._failed = 0
        self._next_trial = 0.0

    def check(self, server: str) -> None:
        """Raise :class:`Overloaded` while the breaker is open."""
        if not self.is_open:
            return
        now = self._clock()
        if now < self._next_trial:
            raise Overloaded(
                f"{server} has failed {self._failed} times in a row; it is tried again in {self._next_trial - now:.0f} s",
                retry_after=math.ceil(self._next_trial - now),
            )
        self._next_trial = now + self._seconds  # this request is the trial; the others wait for its result

    @property
    def is_open(self) -> bool:
        return self._failed >= self._limit

    def succeeded(self) -> None:
        """The server has answered."""
        self._failed = 0

    def failed(self) -> None:
        """The server has not answered, or with an error of its own."""
        self._failed += 1
        self._next_trial = self._clock() + self._seconds
