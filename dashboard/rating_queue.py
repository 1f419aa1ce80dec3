"""Which pairs a recruiter is asked about next, and in which order the two replies are shown.

A pair that is handed out is leased to that recruiter for a while, so that two people do not judge the same one without need. The order
shown is a hash of recruiter and pair: random over pairs, the same when the page is loaded again.
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from storage.events import Message, Side, Stratum
from storage.warehouse import Warehouse

LEASE = 120.0  # seconds a pair stays with the recruiter it was handed to
NEWEST = 1_000  # pairs that are looked through first
EVERYTHING = 2**62
JUDGED = 60.0  # seconds for which a judgment accepted here is remembered; by then it is in the warehouse


@dataclass(frozen=True)
class QueuedPair:
    """A pair as the rating page shows it: no versions, nothing that tells which reply is whose."""

    pair_id: str
    conversation_id: str
    prompt: tuple[Message, ...]
    a: str
    b: str
    shown_first: Side
    stratum: Stratum
    source: str


def shown_first(recruiter: str, pair_id: str) -> Side:
    """The side that this recruiter sees first: half of all pairs each, without memory."""
    return "A" if hashlib.sha256(f"{recruiter}\x1f{pair_id}".encode()).digest()[0] < 128 else "B"


class RatingQueue:
    """Hands out pairs from the warehouse until ``opinions`` recruiters have judged each; leases live in memory, for losing them costs at
    most one opinion more."""

    def __init__(self, warehouse: Warehouse, opinions: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._warehouse = warehouse
        self._opinions = opinions
        self._clock = clock
        self._lock = threading.Lock()
        self._leases: dict[str, tuple[str, float]] = {}
        self._judged: dict[tuple[str, str], tuple[float, bool]] = {}  # until when, and whether it was an opinion

    def take(self, recruiter: str, limit: int) -> list[QueuedPair]:
        """Up to ``limit`` pairs that ``recruiter`` (a pseudonym) has not judged and nobody else holds; leased from now on."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            leased, taken = len(self._leases), len(self._leases) + len(self._judged)
        free: list[dict[str, object]] = []
        # What recruiters judge is as a rule among the newest; only where that is not enough everything is looked through.
        for window, most in ((NEWEST, limit + leased), (EVERYTHING, limit + taken)):
            asked = {"recruiter": recruiter, "opinions": self._opinions, "limit": most, "window": window}
            found = self._warehouse.query("rating_queue", asked).to_pylist()
            with self._lock:
                judged = Counter(
                    pair for (_, pair), (_, opinion) in self._judged.items() if opinion
                )  # also those that the query above came too early to see
                free = [row for row in found if self._is_free(str(row["pair_id"]), recruiter, judged)][:limit]
                if len(free) == limit or window == EVERYTHING:
                    for row in free:
                        self._leases[str(row["pair_id"])] = (recruiter, now + LEASE)
                    break
        return [_queued(row, recruiter) for row in free]

    def judged(self, recruiter: str, pair_id: str, *, opinion: bool = True) -> None:
        """``recruiter`` has judged the pair, just now at this door or as the sink tells; the lease ends. A skip is no ``opinion``."""
        with self._lock:
            if self._leases.get(pair_id, ("", 0.0))[0] == recruiter:
                del self._leases[pair_id]
            self._judged[recruiter, pair_id] = (self._clock() + JUDGED, opinion)

    def _is_free(self, pair_id: str, recruiter: str, judged: Counter[str]) -> bool:
        if judged[pair_id] >= self._opinions:
            return False
        holder = self._leases.get(pair_id, (recruiter, 0.0))[0]
        return holder == recruiter and (recruiter, pair_id) not in self._judged

    def _forget(self, now: float) -> None:
        self._leases = _still(self._leases.items(), now)
        self._judged = {key: (until, opinion) for key, (until, opinion) in self._judged.items() if until > now}


def _still(leases: Iterable[tuple[str, tuple[str, float]]], now: float) -> dict[str, tuple[str, float]]:
    return {pair: (holder, until) for pair, (holder, until) in leases if until > now}


def _queued(row: dict[str, object], recruiter: str) -> QueuedPair:
    pair_id = str(row["pair_id"])
    prompt = tuple(Message.model_validate(each) for each in orjson.loads(str(row["prompt"])))
    side = shown_first(recruiter, pair_id)
    return QueuedPair(pair_id, str(row["conversation_id"]), prompt, str(row["a"]), str(row["b"]), side, row["stratum"], str(row["source"]))  # type: ignore[arg-type]
