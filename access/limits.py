"""Rate limits for each caller, in the memory of each process: so many replicas allow so many times as much."""

import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter


class RateLimits:
    """At most ``per_minute`` requests within a minute by one caller, by two counters: the minute before counts in proportion.

    A list of the requests' times would be exact, but the library keeps an empty one for ever for each address that has called.
    """

    def __init__(self, per_minute: int) -> None:
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def wait(self, caller: str) -> int | None:
        """Count a request; the seconds to wait if the limit is reached, else None."""
        if self._limiter.hit(self._limit, caller):
            return None
        return max(1, round(self._limiter.get_window_stats(self._limit, caller).reset_time - time.time()))
