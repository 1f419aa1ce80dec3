"""Counts the pairs to rate, and the judgments that wait for their pair or its features, incrementally as the sink commits.

A pair is *open* when it is drawn for judging, embedded, and has fewer opinions than it needs (a skip is none). It waits for a recruiter
when it is open and that recruiter has neither judged it nor written one of its responses: ``queries/rating_queue.sql`` finds the same
pairs.

Querying the warehouse would compare whole tables ten times a second while judgments arrive. Here each pair takes eight bytes for each state
it has reached. Only three things are kept in full, all few while people and embedding keep up: waiting judgments, who has judged a pair
that is not settled, and the open pairs that say themselves how many opinions they need.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import numpy as np
import pyarrow.compute as pc

from storage.events import Event, JudgmentGiven, PairDrawn, PairEmbedded
from storage.warehouse.deduplication import Seen
from storage.warehouse.warehouse import Warehouse
from streams.pseudonyms import is_recruiter

PRIME = 2**61 - 1  # as in queries/pair_keys.sql; the key depends on all bits of an id, since products may choose the ids of their pairs
STATES = ("drawn", "embedded", "settled")
NOT_FOR_RATING = ("imported", "edited")
ALL = 2**62


@dataclass(frozen=True)
class Waiting:
    """Counts of waiting judgments, and when the oldest occurred."""

    without_pair: int = 0
    without_features: int = 0
    oldest: datetime | None = None


@dataclass
class _Unsettled:
    """The opinions so far on a pair that needs more, and who is not asked any more: who judged it, or wrote a response."""

    opinions: int = 0
    recruiters: set[str] = field(default_factory=set)


class Outstanding:
    """Starts from the warehouse's content; :meth:`note` adds each commit. Thread-safe.

    Parameters
    ----------
    opinions : how many a pair needs that does not say it itself
    """

    def __init__(self, warehouse: Warehouse, opinions: int) -> None:
        self.opinions = opinions
        self._warehouse = warehouse
        self._lock = threading.Lock()
        self.count()

    def count(self) -> None:
        """Count all stored pairs and judgments: at the start, and when some are deleted."""
        with self._lock:
            self._count()

    def _count(self) -> None:
        warehouse, parameters = self._warehouse, {"opinions": self.opinions}
        keys = warehouse.query("pair_keys", parameters)
        self._reached = {state: Seen(keys.filter(pc.equal(keys["state"], state))["key"].to_numpy()) for state in STATES}
        self._to_rate: int = warehouse.query("pairs_to_rate", parameters).to_pylist()[0]["n"]
        self._waiting: dict[int, dict[UUID, datetime]] = defaultdict(dict)
        for row in warehouse.query("waiting", {"limit": ALL}).to_pylist():
            self._waiting[UUID(row["pair_id"]).int % PRIME][UUID(row["event_id"])] = row["occurred_at"]
        self._needed: dict[int, int] = {
            UUID(row["pair_id"]).int % PRIME: row["needed"] for row in warehouse.query("pairs_needing").to_pylist()
        }
        self._unsettled: dict[int, _Unsettled] = defaultdict(_Unsettled)
        for row in warehouse.query("judged_unsettled", parameters).to_pylist():
            unsettled = self._unsettled[UUID(row["pair_id"]).int % PRIME]
            unsettled.opinions += row["opinions"]
            unsettled.recruiters.add(row["recruiter"])
        self._passed = Counter(who for key in self._open_among(self._unsettled) for who in self._unsettled[key].recruiters)

    @property
    def to_rate(self) -> int:
        """Open pairs."""
        return self._to_rate

    def passed(self, recruiter: str) -> int:
        """Open pairs that ``recruiter`` has judged, skipped or written: they wait for somebody else."""
        return self._passed[recruiter]

    def waiting_for(self, recruiter: str) -> int:
        """Open pairs that ``recruiter`` may still judge, whoever holds them now."""
        with self._lock:
            return self._to_rate - self._passed[recruiter]

    def open_to(self, recruiter: str, pair_ids: Collection[str]) -> set[str]:
        """Those of ``pair_ids`` that ``recruiter`` may still judge."""
        keys = {pair_id: UUID(pair_id).int % PRIME for pair_id in pair_ids}
        with self._lock:
            still = self._open_among(set(keys.values()))
            return {pair_id for pair_id, key in keys.items() if key in still and recruiter not in self._recruiters(key)}

    def waiting(self) -> Waiting:
        """The judgments that wait now."""
        with self._lock:
            if not self._waiting:
                return Waiting()
            drawn = _among(self._reached["drawn"], self._waiting)
            counts = {key: len(judgments) for key, judgments in self._waiting.items()}
            oldest = min(min(judgments.values()) for judgments in self._waiting.values())
        without_features = sum(count for key, count in counts.items() if key in drawn)
        return Waiting(sum(counts.values()) - without_features, without_features, oldest)

    def note(self, events: Iterable[Event]) -> None:
        """Count the events that a commit has stored."""
        relevant = [event for event in events if isinstance(event, PairDrawn | PairEmbedded | JudgmentGiven)]
        keys = {event.pair_id.int % PRIME for event in relevant}
        if not keys:
            return
        with self._lock:
            before = {state: _among(seen, keys) for state, seen in self._reached.items()}
            after = {state: set(found) for state, found in before.items()}
            self._passed.subtract(who for key in _open(before) for who in self._recruiters(key))
            for event in relevant:
                key = event.pair_id.int % PRIME
                if isinstance(event, PairEmbedded):
                    after["embedded"].add(key)
                elif isinstance(event, JudgmentGiven):
                    self._waiting[key][event.event_id] = event.occurred_at
                    if key not in after["settled"]:
                        self._unsettled[key].opinions += event.choice != "skip"
                        self._unsettled[key].recruiters.add(event.recruiter)
                else:
                    after["drawn"].add(key)
                    if event.drawn in NOT_FOR_RATING:
                        after["settled"].add(key)
                    elif key not in after["settled"]:
                        if event.opinions is not None:
                            self._needed[key] = min(event.opinions, self._needed.get(key, event.opinions))
                        if authors := {each.version for each in (event.a, event.b) if is_recruiter(each.version)}:
                            self._unsettled[key].recruiters |= authors
            after["settled"] |= {key for key in keys & after["drawn"] if self._has_enough(key)}
            for state, seen in self._reached.items():
                seen.add(_array(after[state] - before[state]))
            for key in after["drawn"] & after["embedded"]:
                self._waiting.pop(key, None)
            for key in after["settled"]:
                self._unsettled.pop(key, None)
                self._needed.pop(key, None)
            self._passed.update(who for key in _open(after) for who in self._recruiters(key))
            self._to_rate += len(_open(after)) - len(_open(before))

    def needed(self, pair_id: str) -> int:
        """How many opinions this open pair needs."""
        return self._needed.get(UUID(pair_id).int % PRIME, self.opinions)

    def _has_enough(self, key: int) -> bool:
        return key in self._unsettled and self._unsettled[key].opinions >= self._needed.get(key, self.opinions)

    def _recruiters(self, key: int) -> Collection[str]:
        return self._unsettled[key].recruiters if key in self._unsettled else ()

    def _open_among(self, keys: Collection[int]) -> set[int]:
        return _open({state: _among(seen, keys) for state, seen in self._reached.items()})


def _array(keys: Collection[int]) -> np.ndarray:
    return np.fromiter(keys, np.uint64, len(keys))


def _among(seen: Seen, keys: Collection[int]) -> set[int]:
    asked = _array(keys)
    found: set[int] = set(asked[seen.among(asked)].tolist())
    return found


def _open(reached: dict[str, set[int]]) -> set[int]:
    return (reached["drawn"] & reached["embedded"]) - reached["settled"]
