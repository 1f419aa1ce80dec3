"""Which pairs a recruiter is asked about next, and in which order the two replies are shown.

A pair that is handed out is leased to that recruiter for half a minute, and again as often as the page that holds it renews the lease, so
that two people do not judge the same one without need. People come first: simulated recruiters never get a pair that a person holds, and
lose theirs to a person for whom too few are free, save what they took this moment and are about to judge. A person is not sent away while a
pair is open to them, even if other people hold them all: one opinion too many is cheaper. The order shown is a hash of recruiter and pair:
random over pairs, the same when the page is loaded again.
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from dashboard.status.backlog import Outstanding
from storage.events import Message, Side, Stratum
from storage.warehouse.warehouse import Warehouse

LEASE = 30.0  # seconds a pair stays with the recruiter it was handed to, or who has renewed its lease; pages renew every ten
IN_HAND = 3.0  # seconds within which a simulated recruiter judges what it took, and the sink tells of it: as good as judged
WINDOWS = (1_000, 100_000, 2**62)  # newest pairs that are looked through; more of them only where these hold none
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


@dataclass(frozen=True)
class Renewed:
    """What became of the pairs that a recruiter held; those in neither list are held by somebody else by now.

    Attributes
    ----------
    held : leased to the recruiter from now on
    judged : need no judgment of theirs any more
    """

    held: list[str]
    judged: list[str]


@dataclass(frozen=True)
class WaitingFor:
    """Open pairs as one recruiter sees them.

    Attributes
    ----------
    waiting : they may still judge, whoever holds them at this moment
    passed : they have judged or skipped, and others have not
    """

    waiting: int
    passed: int


@dataclass(frozen=True)
class Lease:
    holder: str
    since: float
    simulated: bool


def shown_first(recruiter: str, pair_id: str) -> Side:
    """The side that this recruiter sees first: half of all pairs each, without memory."""
    return "A" if hashlib.sha256(f"{recruiter}\x1f{pair_id}".encode()).digest()[0] < 128 else "B"


class RatingQueue:
    """Hands out pairs from the warehouse until enough recruiters have judged each; leases live in memory, for losing them costs at most
    one opinion more.

    Parameters
    ----------
    outstanding : counts the open pairs along with commits, and knows how many opinions are wanted of each
    """

    def __init__(self, warehouse: Warehouse, outstanding: Outstanding, clock: Callable[[], float] = time.monotonic) -> None:
        self._warehouse = warehouse
        self._outstanding = outstanding
        self._clock = clock
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._judged: dict[tuple[str, str], tuple[float, bool]] = {}  # until when, and whether it was an opinion

    def take(self, recruiter: str, limit: int, *, simulated: bool = False) -> list[QueuedPair]:
        """Up to ``limit`` pairs that ``recruiter`` (a pseudonym) has not judged, leased to them from now on.

        A person gets at least one where one is open to them that no simulated recruiter is judging at this moment.
        """
        with self._lock:
            self._forget()
            leased, judged = len(self._leases), len(self._judged)
        rows: dict[str, Mapping[str, object]] = {}
        for window in WINDOWS:
            waiting = self._outstanding.waiting_for(recruiter)
            if len(rows) >= waiting:
                break  # these are all that are open to them; where none is, the warehouse is not asked
            most = limit + leased + (judged if window > WINDOWS[0] else 0)
            asked = {"recruiter": recruiter, "opinions": self._outstanding.opinions, "limit": min(most, waiting), "window": window}
            rows = {str(row["pair_id"]): row for row in self._warehouse.query("rating_queue", asked).to_pylist()}
            with self._lock:
                chosen = self._available(self._unjudged(rows, recruiter), recruiter, simulated)[:limit]
                if chosen:
                    self._lease(chosen, recruiter, simulated)
                    return [_queued(rows[pair_id], recruiter) for pair_id in chosen]
        with self._lock:
            chosen = [] if simulated else self._next_to_end(self._unjudged(rows, recruiter))
            self._lease(chosen, recruiter, simulated)
        return [_queued(rows[pair_id], recruiter) for pair_id in chosen]

    def renew(self, recruiter: str, pair_ids: Sequence[str], *, simulated: bool = False) -> Renewed:
        """Lease pairs that ``recruiter`` was given before for another while, save those that somebody else holds by now."""
        still = self._outstanding.open_to(recruiter, pair_ids)
        with self._lock:
            self._forget()
            unjudged = self._unjudged([pair_id for pair_id in pair_ids if pair_id in still], recruiter)
            held = self._available(unjudged, recruiter, simulated)
            self._lease(held, recruiter, simulated)
        return Renewed(held, [pair_id for pair_id in pair_ids if pair_id not in unjudged])

    def release(self, recruiter: str, pair_ids: Collection[str]) -> None:
        """``recruiter`` will not judge these now: others may have them at once."""
        with self._lock:
            self._leases = {
                pair_id: lease for pair_id, lease in self._leases.items() if lease.holder != recruiter or pair_id not in pair_ids
            }

    def waiting(self, recruiter: str) -> WaitingFor:
        """How many pairs are open to ``recruiter``, and how many only to others."""
        return WaitingFor(self._outstanding.waiting_for(recruiter), self._outstanding.passed(recruiter))

    def judged(self, recruiter: str, pair_id: str, *, opinion: bool = True) -> None:
        """``recruiter`` has judged the pair, just now at this door or as the sink tells; the lease ends. A skip is no ``opinion``."""
        with self._lock:
            if (lease := self._leases.get(pair_id)) is not None and lease.holder == recruiter:
                del self._leases[pair_id]
            self._judged[recruiter, pair_id] = (self._clock() + JUDGED, opinion)

    def _available(self, pair_ids: Iterable[str], recruiter: str, simulated: bool) -> list[str]:
        """Those that nobody else holds; for a person, then those that simulated recruiters hold."""
        now = self._clock()
        free: list[str] = []
        simulation_holds: list[str] = []
        for pair_id in pair_ids:
            lease = self._leases.get(pair_id)
            if lease is None or lease.holder == recruiter:
                free.append(pair_id)
            elif lease.simulated and not simulated and now >= lease.since + IN_HAND:
                simulation_holds.append(pair_id)
        return free + simulation_holds

    def _next_to_end(self, pair_ids: Sequence[str]) -> list[str]:
        """The pair that people hold whose lease ends first; of those that end together the oldest, which its holder comes to last."""
        leases = {pair_id: self._leases[pair_id] for pair_id in reversed(pair_ids) if pair_id in self._leases}
        return sorted((each for each in leases if not leases[each].simulated), key=lambda each: leases[each].since)[:1]

    def _unjudged(self, pair_ids: Iterable[str], recruiter: str) -> list[str]:
        """Without what was judged too lately for the warehouse to know."""
        opinions = Counter(pair_id for (_, pair_id), (_, opinion) in self._judged.items() if opinion)
        return [
            pair_id for pair_id in pair_ids if opinions[pair_id] < self._outstanding.opinions and (recruiter, pair_id) not in self._judged
        ]

    def _lease(self, pair_ids: Iterable[str], recruiter: str, simulated: bool) -> None:
        self._leases |= dict.fromkeys(pair_ids, Lease(recruiter, self._clock(), simulated))

    def _forget(self) -> None:
        now = self._clock()
        self._leases = {pair_id: lease for pair_id, lease in self._leases.items() if lease.since + LEASE > now}
        self._judged = {key: (until, opinion) for key, (until, opinion) in self._judged.items() if until > now}


def _queued(row: Mapping[str, object], recruiter: str) -> QueuedPair:
    pair_id = str(row["pair_id"])
    prompt = tuple(Message.model_validate(each) for each in orjson.loads(str(row["prompt"])))
    side = shown_first(recruiter, pair_id)
    return QueuedPair(pair_id, str(row["conversation_id"]), prompt, str(row["a"]), str(row["b"]), side, row["stratum"], str(row["source"]))  # type: ignore[arg-type]
