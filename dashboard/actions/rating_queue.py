"""Decides which pairs a recruiter rates next, and which of the two replies is shown first.

Pairs of a higher priority come first. Among the others a fixed share of turns goes to the pairs whose answers would tell most
(``dashboard.actions.ranking``), and the rest to pairs of the arm ``uniform``, the newest first, so that one part of the judgments is never
chosen by what the reward model knows.

A pair handed out is leased to that recruiter for half a minute, and the page renews the lease while it holds the pair, so that two people
do not judge the same pair without need. People come first: simulated recruiters never get a pair leased to a person, and lose their leases
to a person for whom too few pairs are free, except the leases of the last ``SIMULATED_HOLD`` seconds. As long as a pair is open to them,
a person gets one, even if other people hold them all: a surplus opinion is cheaper. The order shown is a hash of recruiter and pair:
random over pairs, the same after a reload.
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import orjson

from dashboard.actions.ranking import Ranking
from dashboard.actions.reviews import Conflict
from dashboard.status.backlog import Outstanding
from storage.errors import TextLost
from storage.events import Message, Side, Stratum
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Warehouse

LEASE = 30.0  # seconds from handing out or renewal; pages renew every ten
SIMULATED_HOLD = 3.0  # seconds before a person may take over a simulated recruiter's lease: by then it has judged and the sink has seen it
WINDOWS = (1_000, 100_000, 2**62)  # how many of the newest pairs are searched; the next only if the one before has none
JUDGED_TTL = 60.0  # seconds for which a judgment accepted here is remembered; by then it is in the warehouse


@dataclass(frozen=True)
class QueuedPair:
    """A pair as the rating page shows it, blind: without model versions."""

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
    """Result of a renewal. Pairs in neither list are leased to somebody else by now.

    Attributes
    ----------
    held : leased to the recruiter again
    judged : need no judgment by this recruiter any more
    """

    held: list[str]
    judged: list[str]


@dataclass(frozen=True)
class WaitingFor:
    """Counts of open pairs for one recruiter.

    Attributes
    ----------
    waiting : the recruiter may still judge them, whoever holds them now
    passed : the recruiter has judged or skipped them; they wait for others
    """

    waiting: int
    passed: int


@dataclass(frozen=True)
class Lease:
    holder: str
    since: float
    simulated: bool


def shown_first(recruiter: str, pair_id: str) -> Side:
    """The side that this recruiter sees first: A for half of all pairs, by a hash, so that nothing is stored."""
    return "A" if hashlib.sha256(f"{recruiter}\x1f{pair_id}".encode()).digest()[0] < 128 else "B"


class RatingQueue:
    """Hands out pairs from the warehouse until enough recruiters have judged each. Leases are kept in memory: losing them costs at most
    one surplus opinion.

    Parameters
    ----------
    outstanding : counts the open pairs as commits arrive; holds how many opinions each pair needs
    ranking : which pairs tell most; None for the newest first
    """

    def __init__(
        self,
        warehouse: Warehouse,
        outstanding: Outstanding,
        ranking: Ranking | None = None,
        texts: Texts = PLAIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warehouse = warehouse
        self._texts = texts
        self._outstanding = outstanding
        self._ranking = ranking
        self._clock = clock
        self._turns = 0  # pairs of priority 0 handed out
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._judged: dict[tuple[str, str], tuple[float, bool]] = {}  # expiry time, and whether it was an opinion

    def take(self, recruiter: str, limit: int, *, simulated: bool = False) -> list[QueuedPair]:
        """Lease up to ``limit`` pairs that ``recruiter`` (a pseudonym) has not judged.

        A person gets at least one if any is open to them that a simulated recruiter is not judging right now.
        """
        with self._lock:
            self._expire()
            leased, judged = len(self._leases), len(self._judged)
        rows: dict[str, Mapping[str, object]] = {}
        ranked = self._ranked(recruiter)
        for window in WINDOWS:
            waiting = self._outstanding.waiting_for(recruiter)
            if len(rows) >= waiting:
                break  # all pairs open to this recruiter are found; if there are none, nothing is queried
            most = limit + leased + (judged if window > WINDOWS[0] else 0)
            asked = {"recruiter": recruiter, "opinions": self._outstanding.opinions, "limit": min(most, waiting), "window": window}
            rows = {str(row["pair_id"]): row for row in self._warehouse.query("rating_queue", asked).to_pylist()}
            with self._lock:
                newest = self._available(self._unjudged(rows, recruiter), recruiter, simulated)
                chosen = self._merged(newest, self._available(self._unjudged(ranked, recruiter), recruiter, simulated), rows, limit)
                self._lease(chosen, recruiter, simulated)
            if chosen:
                return self._queued(self._rows(chosen, rows), recruiter)
        with self._lock:
            chosen = [] if simulated else self._first_to_expire(self._unjudged(rows, recruiter))
            self._lease(chosen, recruiter, simulated)
        return self._queued([rows[pair_id] for pair_id in chosen], recruiter)

    def _ranked(self, recruiter: str) -> list[str]:
        """The pairs open to the recruiter whose answers would tell most, the best first."""
        best = [] if self._ranking is None else self._ranking.newest()
        still = self._outstanding.open_to(recruiter, best)
        return [pair_id for pair_id in best if pair_id in still]

    def _merged(self, newest: Sequence[str], ranked: Sequence[str], rows: Mapping[str, Mapping[str, object]], limit: int) -> list[str]:
        """Up to ``limit`` pairs: those of a priority, then in each turn an informative or a uniform one; either takes the other's turn when
        there is none."""
        chosen = [pair_id for pair_id in newest if rows[pair_id]["priority"]][:limit]
        share = 0.0 if self._ranking is None else self._ranking.share
        uniform = iter([each for each in newest if rows[each]["arm"] == "uniform" or not ranked])
        informative, others = iter(ranked), iter(newest)
        while len(chosen) < limit:
            turn = int((self._turns + 1) * share) > int(self._turns * share)
            arms = (informative, uniform, others) if turn else (uniform, informative, others)
            found = next((each for arm in arms for each in arm if each not in chosen), None)
            if found is None:
                break
            chosen.append(found)
            self._turns += 1
        return chosen

    def _rows(self, chosen: Sequence[str], rows: Mapping[str, Mapping[str, object]]) -> list[Mapping[str, object]]:
        """The rows of these pairs; those that the search for the newest has not found are read."""
        missing = [pair_id for pair_id in chosen if pair_id not in rows]
        read = self._warehouse.query("queued_pairs", {"pair_ids": missing}).to_pylist() if missing else []
        found = {**rows, **{str(row["pair_id"]): row for row in read}}
        return [found[pair_id] for pair_id in chosen]

    def renew(self, recruiter: str, pair_ids: Sequence[str], *, simulated: bool = False) -> Renewed:
        """Renew ``recruiter``'s leases, except on pairs that somebody else holds by now."""
        still = self._outstanding.open_to(recruiter, pair_ids)
        with self._lock:
            self._expire()
            unjudged = self._unjudged([pair_id for pair_id in pair_ids if pair_id in still], recruiter)
            held = self._available(unjudged, recruiter, simulated)
            self._lease(held, recruiter, simulated)
        return Renewed(held, [pair_id for pair_id in pair_ids if pair_id not in unjudged])

    def check_author(self, recruiter: str, pair_id: str) -> None:
        """Raise :class:`Conflict` if ``recruiter`` wrote a response of the pair, as far as the warehouse knows by now."""
        with self._lock:
            lease = self._leases.get(pair_id)
        if lease is not None and lease.holder == recruiter:
            return  # handed out here, and nobody gets their own
        if self._warehouse.query("written_by", {"pair_id": pair_id, "recruiter": recruiter}).num_rows:
            raise Conflict("pair_id: this recruiter wrote one of the two responses; somebody else has to judge the pair")

    def release(self, recruiter: str, pair_ids: Collection[str]) -> None:
        """End ``recruiter``'s leases on these pairs; others may have them at once."""
        with self._lock:
            self._leases = {
                pair_id: lease for pair_id, lease in self._leases.items() if lease.holder != recruiter or pair_id not in pair_ids
            }

    def waiting(self, recruiter: str) -> WaitingFor:
        """How many pairs are open to ``recruiter``, and how many only to others."""
        return WaitingFor(self._outstanding.waiting_for(recruiter), self._outstanding.passed(recruiter))

    def judged(self, recruiter: str, pair_id: str, *, opinion: bool = True) -> None:
        """Record that ``recruiter`` has judged the pair, as the API or the sink reports, and end the lease. A skip is no ``opinion``."""
        with self._lock:
            if (lease := self._leases.get(pair_id)) is not None and lease.holder == recruiter:
                del self._leases[pair_id]
            self._judged[recruiter, pair_id] = (self._clock() + JUDGED_TTL, opinion)

    def _available(self, pair_ids: Iterable[str], recruiter: str, simulated: bool) -> list[str]:
        """Pairs that nobody else holds; for a person, followed by those that simulated recruiters hold."""
        now = self._clock()
        free: list[str] = []
        simulation_holds: list[str] = []
        for pair_id in pair_ids:
            lease = self._leases.get(pair_id)
            if lease is None or lease.holder == recruiter:
                free.append(pair_id)
            elif lease.simulated and not simulated and now >= lease.since + SIMULATED_HOLD:
                simulation_holds.append(pair_id)
        return free + simulation_holds

    def _first_to_expire(self, pair_ids: Sequence[str]) -> list[str]:
        """The pair held by a person whose lease expires first; among equals the oldest, which its holder reaches last."""
        leases = {pair_id: self._leases[pair_id] for pair_id in reversed(pair_ids) if pair_id in self._leases}
        return sorted((each for each in leases if not leases[each].simulated), key=lambda each: leases[each].since)[:1]

    def _unjudged(self, pair_ids: Iterable[str], recruiter: str) -> list[str]:
        """Drop pairs that were judged too recently for the warehouse to know."""
        opinions = Counter(pair_id for (_, pair_id), (_, opinion) in self._judged.items() if opinion)
        return [
            pair_id
            for pair_id in pair_ids
            if opinions[pair_id] < self._outstanding.needed(pair_id) and (recruiter, pair_id) not in self._judged
        ]

    def _lease(self, pair_ids: Iterable[str], recruiter: str, simulated: bool) -> None:
        self._leases |= dict.fromkeys(pair_ids, Lease(recruiter, self._clock(), simulated))

    def _expire(self) -> None:
        now = self._clock()
        self._leases = {pair_id: lease for pair_id, lease in self._leases.items() if lease.since + LEASE > now}
        self._judged = {key: (until, opinion) for key, (until, opinion) in self._judged.items() if until > now}

    def _queued(self, rows: Iterable[Mapping[str, object]], recruiter: str) -> list[QueuedPair]:
        """The pairs with their texts opened; one whose texts are lost cannot be rated."""
        queued = []
        for row in rows:
            with suppress(TextLost):
                queued.append(_queued(self._texts.row(row), recruiter))
        return queued


def _queued(row: Mapping[str, object], recruiter: str) -> QueuedPair:
    pair_id = str(row["pair_id"])
    prompt = tuple(Message.model_validate(each) for each in orjson.loads(str(row["prompt"])))
    side = shown_first(recruiter, pair_id)
    return QueuedPair(pair_id, str(row["conversation_id"]), prompt, str(row["a"]), str(row["b"]), side, row["stratum"], str(row["source"]))  # type: ignore[arg-type]
