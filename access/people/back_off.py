"""Slows down guessing of passwords: after a few failures in a row there is a pause, twice as long after each further one.

The pause has a maximum and nobody is locked out: otherwise anybody could keep a colleague from signing in.
"""

import time
from collections.abc import Callable

LONGEST = 30.0  # seconds
FORGOTTEN_AFTER = 3_600.0  # seconds without a failure


class BackOff:
    """Counts failures of logins, or of addresses, in this process. The first ``free`` have no pause."""

    def __init__(self, free: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free, self._clock = free, clock
        self._failures: dict[str, tuple[int, float]] = {}  # how many, and when the last was

    def wait(self, whom: str) -> float:
        """Seconds until the next try may be made; 0 if it may be made now."""
        failures, last = self._failures.get(whom, (0, 0.0))
        if failures < self._free:
            return 0.0
        return max(0.0, last + min(LONGEST, 2.0 ** min(failures - self._free, 10)) - self._clock())

    def tried(self, whom: str) -> None:
        """Count a try as a failure, before its outcome is known: many at the same time must not all be free."""
        moment = self._clock()
        self._failures = {each: (n, last) for each, (n, last) in self._failures.items() if moment - last < FORGOTTEN_AFTER}
        self._failures[whom] = (self._failures.get(whom, (0, 0.0))[0] + 1, moment)

    def succeeded(self, whom: str, *, forget: bool) -> None:
        """The last try was none; and, to ``forget``, those before it do not count any more."""
        failures, last = self._failures.pop(whom, (0, 0.0))
        if failures > 1 and not forget:
            self._failures[whom] = failures - 1, last
