"""Where pair, features and judgments meet: what waits, and what becomes the next numbered preference.

The state is what is still incomplete, whole, and of the other pairs those of lately. The warehouse feeds it the events of a batch in order,
inside the batch's transaction, and stores what comes out; an older pair is fetched through ``load``. Which judgments are numbered depends
only on the order within each topic's partition, never on how the topics interleave.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
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
    Stratum,
    Vector,
    assembled,
    derived_id,
    newest_version,
)

# Complete pairs in memory, about 5 kB each with 400 features a side. After its first judgment a pair is seldom asked for again, and more of
# them than the processor's caches hold would slow down every batch.
UNJUDGED = 16_384
JUDGED = 1_024
DECISIVE = frozenset({"A", "B", "tie"})
VERSION = newest_version(PreferenceJoined)
JOINED = frozenset({PairDrawn, PairEmbedded, JudgmentGiven})


class Features(NamedTuple):
    embedding_hash: str
    a: Vector
    b: Vector


class Standing(NamedTuple):
    """The judgment that holds for one recruiter on one pair, and its number where it has one that was not removed."""

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
    """Does it prefer one side, or call a tie: overall, or on an objective where nothing was said overall?"""
    if judgment.choice is not None:
        return judgment.choice in DECISIVE
    return any(choice in DECISIVE for choice in judgment.objectives.values())


class Join:
    """What waits, and the numbers given so far.

    Parameters
    ----------
    epoch : stamped on every entry
    sequence : the last number given
    incomplete : every pair that lacks itself or its features, with the judgments that wait for it
    load : what the warehouse holds of some pairs, as of before the batch; ids of which it holds nothing are left out
    """

    def __init__(self, epoch: int, sequence: int, incomplete: Mapping[UUID, Pair], load: Load) -> None:
        self.epoch = epoch
        self.sequence = sequence
        # By the ids' numbers: Python hashes those at once, and a UUID by a function of its own.
        self._incomplete: dict[int, Pair] = {pair_id.int: pair for pair_id, pair in incomplete.items()}
        self._unjudged: OrderedDict[int, Pair] = OrderedDict()
        self._judged: OrderedDict[int, Pair] = OrderedDict()
        self._load = load
        self.waiting = sum(len(pair.waiting) for pair in incomplete.values())

    @property
    def incomplete(self) -> int:
        """How many pairs lack themselves or their features; they are what the state grows with."""
        return len(self._incomplete)

    def step(self, events: Iterable[Event]) -> list[Numbered]:
        """Take in the events, in order, and number what they complete, replace or withdraw."""
        ours: list[tuple[int, Any]] = [(event.pair_id.int, event) for event in events if type(event) in JOINED]  # type: ignore[attr-defined]  # those have one
        # A pair just drawn and not known to be incomplete is new: nothing can have been stored about it.
        others = {key for key, _ in ours} - {key for key, event in ours if type(event) is PairDrawn}
        asked = [UUID(int=key) for key in others if not any(key in known for known in (self._incomplete, self._unjudged, self._judged))]
        for pair_id, pair in self._load(asked).items() if asked else ():
            (self._incomplete if not pair.complete else self._judged if pair.standing else self._unjudged)[pair_id.int] = pair
        numbered: list[Numbered] = []
        for key, event in ours:
            self._take(key, event, numbered)
        for kept, most in ((self._unjudged, UNJUDGED), (self._judged, JUDGED)):
            while len(kept) > most:
                kept.popitem(last=False)
        return numbered

    def settle(self, missed: Iterable[tuple[Pair, JudgmentGiven]]) -> list[Numbered]:
        """Number judgments that are stored and complete and not reflected yet; each comes with a pair that tells what is numbered."""
        numbered: list[Numbered] = []
        for pair, judgment in missed:
            self._judge(pair, judgment, numbered)
        return numbered

    def _take(self, key: int, event: PairDrawn | PairEmbedded | JudgmentGiven, numbered: list[Numbered]) -> None:
        """Add to the pair what the event says of it, and to ``numbered`` what that completes, replaces or withdraws."""
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
        if complete:  # the last touched is the last to be forgotten
            (self._judged if pair.standing else self._unjudged)[key] = pair

    def _judge(self, pair: Pair, judgment: JudgmentGiven, numbered: list[Numbered]) -> None:
        """Of two by the same recruiter the later on the log holds, whatever the clocks say: a pair's judgments lie in one partition."""
        assert pair.features is not None
        assert pair.stratum is not None
        held = pair.standing.get(judgment.recruiter)
        if held is not None and held.sequence is not None:
            removed = PreferenceRemoved(
                event_id=derived_id("PreferenceRemoved", held.event_id),
                occurred_at=judgment.occurred_at,
                source=judgment.source,
                epoch=self.epoch,
                sequence=self._next(),
                removes=held.sequence,
            )
            numbered.append(removed)
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

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence
