"""Rate limits for feedback, per caller and per pair.

They guard against flooding and invented names, and live in the memory of each process. The retraining threshold counts pairs, not
judgments, so repeated judgments of one pair do not move it.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from uuid import UUID

from storage.errors import InputRefused, Overloaded
from streams.settings import FeedbackCaps

MAX_PAIRS = 50_000  # tracked, least recently judged evicted first
MINUTE = 60.0


class JudgmentLimiter:
    """Counts the judgments that this process accepted. Thread-safe."""

    def __init__(self, caps: FeedbackCaps, clock: Callable[[], float] = time.monotonic) -> None:
        self._caps, self._clock = caps, clock
        self._guard = threading.Lock()
        self._pairs: OrderedDict[UUID, Counter[str]] = OrderedDict()
        self._minute = clock()
        self._callers: Counter[str] = Counter()

    def admit(self, pair_id: UUID, recruiter: str, caller: str) -> None:
        """Count one judgment of ``pair_id`` by the pseudonym ``recruiter``.

        Raises
        ------
        InputRefused
            The limit of recruiters for this pair, or of judgments by this recruiter for it, is reached.
        Overloaded
            The caller has reached its limit of judgments per minute.
        """
        caps = self._caps
        with self._guard:
            if (elapsed := self._clock() - self._minute) >= MINUTE:
                self._minute, elapsed = self._clock(), 0.0
                self._callers.clear()
            if self._callers[caller] >= caps.judgments_per_minute:
                raise Overloaded(
                    f"this caller has sent {caps.judgments_per_minute:,} judgments within a minute; send the rest later",
                    retry_after=max(int(MINUTE - elapsed), 1),
                )
            given = self._pairs.get(pair_id, Counter())
            if recruiter not in given and len(given) >= caps.recruiters_per_pair:
                raise InputRefused(f"pair_id: {len(given)} people have judged this pair, which is the limit; use another pair", "pair_id")
            if given[recruiter] >= caps.judgments_per_recruiter_and_pair:
                raise InputRefused(f"pair_id: this recruiter has judged this pair {given[recruiter]} times; use another pair", "pair_id")
            self._callers[caller] += 1
            given[recruiter] += 1
            self._pairs[pair_id] = given
            self._pairs.move_to_end(pair_id)
            if len(self._pairs) > MAX_PAIRS:
                self._pairs.popitem(last=False)
