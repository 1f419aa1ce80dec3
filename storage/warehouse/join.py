"""The join of pairs, features and judgments into numbered preferences.

The state holds all incomplete pairs, and a cache of recent complete ones; older pairs are fetched through ``load``. The warehouse feeds it
the events of a batch in order, inside the batch's transaction, and stores the result. Which judgments are numbered depends only on the
order within each partition, not on how topics interleave.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from storage.events import (
    Event,
    JudgmentGiven,
    Numbered,
    PairDrawn,
    PairEmbedded,
    PreferenceJoined,
    PreferenceRemoved,
    Source,
    Stratum,
    Vector,
    assembled,
    derived_id,
    newest_version,
)

# Maximum number of complete pairs in memory, about 5 kB each with 400 features per response. After its first judgment a pair is rarely
# needed again, and more pairs than fit into the CPU cache would slow down every batch.
MAX_UNJUDGED = 16_384
MAX_JUDGED = 1_024
DECISIVE = frozenset({"A", "B", "tie"})
VERSION = newest_version(PreferenceJoined)
JOINED = frozenset({PairDrawn, PairEmbedded, JudgmentGiven})


class Features(NamedTuple):
    embedding_hash: str
    a: Vector
    b: Vector


class Standing(NamedTuple):
    """The current judgment of one recruiter on one pair, and its sequence number if it has one that was not removed."""

    event_id: UUID
    sequence: int | None


@dataclass(slots=True)
class Pair:
    stratum: Stratum | None = None
    features: Features | None = None
    waiting: list[JudgmentGiven] = field(default_factory=list)
    standing: dict[str, Standing] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.stratum is not None and self.features is not None


Load = Callable[[Collection[UUID]], Mapping[UUID, Pair]]


def is_decisive(judgment: JudgmentGiven) -> bool:
    """Whether it prefers a side or calls a tie: overall, or on any objective if there is no overall choice."""
    if judgment.choice is not None:
        return judgment.choice in DECISIVE
    return any(choice in DECISIVE for choice in judgment.objectives.values())


class Join:
    """State of the join: pairs and waiting judgments, and the last sequence number.

    Parameters
    ----------
    epoch : stamped on every entry
    sequence : the last number given
    incomplete : every pair whose ``PairDrawn`` or features are missing, with the judgments waiting for it
    load : fetches pairs from the warehouse as of before the batch; unknown ids are omitted
    """

    def __init__(self, epoch: int, sequence: int, incomplete: Mapping[UUID, Pair], load: Load) -> None:
        self.epoch = epoch
        self.sequence = sequence
        # Keyed by UUID.int: int has a fast built-in hash, UUID a Python-level one.
        self._incomplete: dict[int, Pair] = {pair_id.int: pair for pair_id, pair in incomplete.items()}
        self._unjudged: OrderedDict[int, Pair] = OrderedDict()
        self._judged: OrderedDict[int, Pair] = OrderedDict()
        self._load = load
        self.waiting = sum(len(pair.waiting) for pair in incomplete.values())

    @property
    def incomplete(self) -> int:
        """Number of pairs whose ``PairDrawn`` or features are missing; memory grows with it."""
        return len(self._incomplete)

    def step(self, events: Iterable[Event]) -> list[Numbered]:
        """Process the events in order; return the preferences and removals numbered."""
        ours: list[tuple[int, Any]] = [(event.pair_id.int, event) for event in events if type(event) in JOINED]  # type: ignore[attr-defined]  # those have one
        # A pair drawn in this batch and not known to be incomplete is new: nothing about it is stored.
        others = {key for key, _ in ours} - {key for key, event in ours if type(event) is PairDrawn}
        asked = [UUID(int=key) for key in others if not any(key in known for known in (self._incomplete, self._unjudged, self._judged))]
        for pair_id, pair in self._load(asked).items() if asked else ():
            (self._incomplete if not pair.complete else self._judged if pair.standing else self._unjudged)[pair_id.int] = pair
        numbered: list[Numbered] = []
        for key, event in ours:
            self._take(key, event, numbered)
        for cache, size in ((self._unjudged, MAX_UNJUDGED), (self._judged, MAX_JUDGED)):
            while len(cache) > size:
                cache.popitem(last=False)
        return numbered

    def forget(self, pairs: Iterable[int], recruiters: Collection[str]) -> None:
        """Drop erased pairs, given by ``UUID.int``, and what erased recruiters said; no later event of theirs may be passed."""
        for key in pairs:
            for known in (self._incomplete, self._unjudged, self._judged):
                known.pop(key, None)
        if recruiters:
            self._judged.clear()  # fetched again when it is needed
            for pair in self._incomplete.values():
                pair.waiting = [judgment for judgment in pair.waiting if judgment.recruiter not in recruiters]
        self.waiting = sum(len(pair.waiting) for pair in self._incomplete.values())

    def remove(self, preferences: Iterable[Mapping[str, Any]], at: datetime) -> list[Numbered]:
        """Number the removal of erased preferences, rows of the query ``erased_standing``, at this time."""
        return [self._removal(UUID(row["judgment_event_id"]), row["sequence"], at, row["source"]) for row in preferences]

    def settle(self, missed: Iterable[tuple[Pair, JudgmentGiven]]) -> list[Numbered]:
        """Number stored judgments that the numbered preferences do not reflect; the pair's ``standing`` holds what is numbered."""
        numbered: list[Numbered] = []
        for pair, judgment in missed:
            self._judge(pair, judgment, numbered)
        return numbered

    def _take(self, key: int, event: PairDrawn | PairEmbedded | JudgmentGiven, numbered: list[Numbered]) -> None:
        """Apply the event to its pair, and append resulting preferences and removals to ``numbered``."""
        pair = self._unjudged.pop(key, None) or self._judged.pop(key, None)
        complete = pair is not None
        if pair is None:
            pair = self._incomplete.get(key)
            if pair is None:
                pair = self._incomplete[key] = Pair()
        if isinstance(event, PairDrawn):
            pair.stratum = pair.stratum or event.stratum
        elif isinstance(event, PairEmbedded):
            pair.features = Features(event.embedding_hash, event.a, event.b)
        elif complete:
            self._judge(pair, event, numbered)
        else:
            pair.waiting.append(event)
            self.waiting += 1
        if not complete and pair.complete:
            complete = True
            del self._incomplete[key]
            waiting, pair.waiting = pair.waiting, []
            self.waiting -= len(waiting)
            for judgment in waiting:
                self._judge(pair, judgment, numbered)
        if complete:  # LRU: reinsert at the end
            (self._judged if pair.standing else self._unjudged)[key] = pair

    def _judge(self, pair: Pair, judgment: JudgmentGiven, numbered: list[Numbered]) -> None:
        """The recruiter's last judgment on the log replaces earlier ones, whatever the timestamps; a pair's judgments share a partition."""
        assert pair.features is not None
        assert pair.stratum is not None
        held = pair.standing.get(judgment.recruiter)
        if held is not None and held.sequence is not None:
            numbered.append(self._removal(held.event_id, held.sequence, judgment.occurred_at, judgment.source))
        sequence = None
        if is_decisive(judgment):
            sequence = self._next()
            values = {
                "kind": "PreferenceJoined",
                "schema_version": VERSION,
                "event_id": derived_id("PreferenceJoined", judgment.event_id),
                "occurred_at": judgment.occurred_at,
                "source": judgment.source,
                "epoch": self.epoch,
                "sequence": sequence,
                "judgment": judgment,
                "stratum": pair.stratum,
                "embedding_hash": pair.features.embedding_hash,
                "a": pair.features.a,
                "b": pair.features.b,
            }
            numbered.append(assembled(PreferenceJoined, values))
        pair.standing[judgment.recruiter] = Standing(judgment.event_id, sequence)

    def _removal(self, judgment: UUID, removes: int, occurred_at: datetime, source: Source) -> PreferenceRemoved:
        return PreferenceRemoved(
            event_id=derived_id("PreferenceRemoved", judgment),
            occurred_at=occurred_at,
            source=source,
            epoch=self.epoch,
            sequence=self._next(),
            removes=removes,
        )

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence
