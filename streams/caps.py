"""How much feedback one caller may send and one pair may get at one door, until sign-in says who judges.

A bound against flooding and invented names, kept in memory by each process; what counts towards training counts pairs and not ballots.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from uuid import UUID

from storage.errors import InputRefused, Overloaded
from streams.settings import FeedbackCaps

REMEMBERED = 50_000  # pairs, those judged last
MINUTE = 60.0


class Ballots:
    """Counts what came through this door. Safe from several threads."""

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
            The pair has been judged by as many people, or as often by this one, as one may.
        Overloaded
            The caller sends more than it may in a minute.
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
                raise InputRefused(f"pair_id: {len(given)} people have judged this pair, more are not asked; take another pair", "pair_id")
            if given[recruiter] >= caps.judgments_per_recruiter_and_pair:
                raise InputRefused(f"pair_id: this recruiter has judged this pair {given[recruiter]} times; take another pair", "pair_id")
            self._callers[caller] += 1
            given[recruiter] += 1
            self._pairs[pair_id] = given
            self._pairs.move_to_end(pair_id)
            if len(self._pairs) > REMEMBERED:
                self._pairs.popitem(last=False)
