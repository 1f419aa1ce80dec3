"""How many pairs are still to be rated, and which judgments wait for their pair or its features, counted along with the sink's commits.

Asking the warehouse means comparing whole tables, ten times a second while judgments come. Here every pair is remembered by eight bytes for
each state it has reached; what waits is remembered whole, and is short where embedding keeps up.
"""

import threading
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
import pyarrow.compute as pc

from storage.events import Event, JudgmentGiven, PairDrawn, PairEmbedded
from storage.repeats import Seen
from storage.warehouse import Warehouse

PRIME = 2**61 - 1  # as in queries/pair_keys.sql: of all bits of an id, since products may number their pairs themselves
STATES = ("drawn", "embedded", "settled")
NOT_FOR_RATING = ("imported", "edited")
ALL = 2**62


@dataclass(frozen=True)
class Waiting:
    """Judgments that wait, and since when the longest."""

    without_pair: int = 0
    without_features: int = 0
    oldest: datetime | None = None


class Outstanding:
    """Begins with what the warehouse holds; :meth:`note` adds what each commit has stored. Safe from several threads."""

    def __init__(self, warehouse: Warehouse) -> None:
        keys = warehouse.query("pair_keys")
        self._lock = threading.Lock()
        self._reached = {state: Seen(keys.filter(pc.equal(keys["state"], state))["key"].to_numpy()) for state in STATES}
        self._to_rate: int = warehouse.query("pairs_to_rate").to_pylist()[0]["n"]
        self._waiting: dict[int, dict[UUID, datetime]] = defaultdict(dict)
        for row in warehouse.query("waiting", {"limit": ALL}).to_pylist():
            self._waiting[UUID(row["pair_id"]).int % PRIME][UUID(row["event_id"])] = row["occurred_at"]

    @property
    def to_rate(self) -> int:
        """Pairs that are embedded, drawn for judging, and judged by nobody."""
        return self._to_rate

    def waiting(self) -> Waiting:
        """What waits at this moment."""
        with self._lock:
            if not self._waiting:
                return Waiting()
            drawn = _among(self._reached["drawn"], self._waiting)
            counts = {key: len(judgments) for key, judgments in self._waiting.items()}
            oldest = min(min(judgments.values()) for judgments in self._waiting.values())
        without_features = sum(count for key, count in counts.items() if key in drawn)
        return Waiting(sum(counts.values()) - without_features, without_features, oldest)

    def note(self, events: Iterable[Event]) -> None:
        """A commit has stored them."""
        ours = [event for event in events if isinstance(event, PairDrawn | PairEmbedded | JudgmentGiven)]
        keys = {event.pair_id.int % PRIME for event in ours}
        if not keys:
            return
        with self._lock:
            before = {state: _among(seen, keys) for state, seen in self._reached.items()}
            after = {state: set(found) for state, found in before.items()}
            for event in ours:
                key = event.pair_id.int % PRIME
                if isinstance(event, PairEmbedded):
                    after["embedded"].add(key)
                elif isinstance(event, JudgmentGiven):
                    after["settled"].add(key)
                    self._waiting[key][event.event_id] = event.occurred_at
                else:
                    after["drawn"].add(key)
                    if event.drawn in NOT_FOR_RATING:
                        after["settled"].add(key)
            for state, seen in self._reached.items():
                seen.add(_array(after[state] - before[state]))
            for key in after["drawn"] & after["embedded"]:
                self._waiting.pop(key, None)
            self._to_rate += len(_open(after)) - len(_open(before))


def _array(keys: Collection[int]) -> np.ndarray:
    return np.fromiter(keys, np.uint64, len(keys))


def _among(seen: Seen, keys: Collection[int]) -> set[int]:
    asked = _array(keys)
    found: set[int] = set(asked[seen.among(asked)].tolist())
    return found


def _open(reached: dict[str, set[int]]) -> set[int]:
    return (reached["drawn"] & reached["embedded"]) - reached["settled"]
