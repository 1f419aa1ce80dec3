"""The judgments that a head has learnt, for its reconciliations: those settled at the last one, and the tail since then.

A history is immutable: each head has its own. Settled rows, and their feature differences in shards, each for a range of sequence numbers,
lie in files of their own, which a checkpoint writes once and references by hash.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import islice

import numpy as np
from safetensors.numpy import save as serialise

UNANSWERED = 127  # as the lower level of a question that the judgment does not answer


@cache
def row_type(questions: int) -> np.dtype[np.void]:
    """The type of a judgment's row with answers to so many questions."""
    each = (questions,)
    return np.dtype(
        [
            ("sequence", "<i8"),
            ("position", "i1"),  # 1 if the order shown is known, else 0
            ("mirrored", "?"),  # whether B was shown first: levels and differences are first shown minus second
            ("counts", "?"),
            ("pair", "<u8"),  # 61 bits of the pair's id
            ("recruiter", "<i4"),  # index into names
            ("occurred_at", "<f8"),  # seconds since 1970
            ("lower", "i1", each),
            ("upper", "i1", each),
            ("hit", "<f4", each),  # prediction before learning: 1 right, 0 wrong, 0.5 undecided; NaN without a side
            ("loss", "<f4", each),  # -log P(chosen side | not a tie), before learning
            ("site_precision", "<f8", each),  # of the site's normal in ``delta @ w``, with the position in ``delta``
            ("site_linear", "<f8", each),
        ]
    )


FOLD_AT = 500  # judgments
STORED = "<f2"  # half precision: features are of size one, and single precision would double a judgment's memory


@dataclass(frozen=True)
class Part:
    """An array of a history that lies in a file of its own; ``digest`` is the SHA-256 of that file."""

    array: np.ndarray
    digest: str

    @classmethod
    def of(cls, array: np.ndarray) -> "Part":
        return cls(array, hashlib.sha256(_file_of(array)).hexdigest())

    def as_file(self) -> bytes:
        """The content of the safetensors file; deterministic. Rows are stored as bytes."""
        return _file_of(self.array)


def _file_of(array: np.ndarray) -> bytes:
    data = np.ascontiguousarray(array)
    return serialise({"data": data if data.dtype.names is None else np.frombuffer(data.tobytes(), np.uint8)})


Learnt = tuple[np.ndarray, np.ndarray]  # a judgment's row and its difference


class Tail:
    """Judgments in order of sequence. Immutable, and yet one more costs the same whatever the length.

    Tails that were made from each other share one list, of which each knows how much is its own. Only a second successor of the same tail
    has to copy.
    """

    def __init__(self, judgments: Iterable[Learnt] = ()) -> None:
        self._shared: list[Learnt] = []
        self._first: dict[int, int] = {}  # by pair, where in the list its first row that counts is
        self._length = 0
        for row, difference in judgments:
            self._add(row, difference)

    def _add(self, row: np.ndarray, difference: np.ndarray) -> None:
        if row["counts"]:
            self._first.setdefault(int(row["pair"]), self._length)
        self._shared.append((row, difference))
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Learnt]:
        return islice(self._shared, self._length)

    def append(self, row: np.ndarray, difference: np.ndarray) -> "Tail":
        """This tail and one more judgment."""
        if len(self._shared) > self._length:
            longer = Tail(self)
        else:
            longer = Tail()
            longer._shared, longer._first, longer._length = self._shared, self._first, self._length
        longer._add(row, difference)
        return longer

    def counts_pair(self, pair: int) -> bool:
        """Whether a row that counts belongs to this pair."""
        return self._first.get(pair, self._length) < self._length


@dataclass(frozen=True)
class History:
    """``settled`` is in order of sequence and matches the concatenated differences of the shards; ``tail`` follows it.

    A tail of ``FOLD_AT`` judgments is settled, so that a checkpoint has few of them to write. ``settled_pairs``, sorted, are the pairs of
    the settled rows that count, because every new judgment looks up its pair. Build a history from rows with :meth:`of`.
    """

    dimension: int
    settled: np.ndarray
    shards: tuple[Part, ...] = ()
    tail: Tail = field(default_factory=Tail)
    names: tuple[str, ...] = ()
    settled_pairs: np.ndarray = field(default_factory=lambda: np.empty(0, "<u8"))

    @classmethod
    def empty(cls, dimension: int, questions: int) -> "History":
        """A history without judgments."""
        return cls(dimension, np.empty(0, row_type(questions)))

    @classmethod
    def of(
        cls,
        dimension: int,
        settled: np.ndarray,
        shards: tuple[Part, ...],
        tail: Iterable[Learnt],
        names: tuple[str, ...],
    ) -> "History":
        """A history of these rows."""
        return cls(dimension, settled, shards, Tail(tail), names, _pairs_of(settled))

    def __len__(self) -> int:
        return len(self.settled) + len(self.tail)

    def append(self, row: np.ndarray, difference: np.ndarray, recruiter: str) -> "History":
        """The history with one more row, whose ``recruiter`` is set here."""
        names = self.names if recruiter in self.names else (*self.names, recruiter)
        row = row.copy()
        row["recruiter"] = names.index(recruiter)
        longer = replace(self, tail=self.tail.append(row, difference), names=names)
        return longer if len(longer.tail) < FOLD_AT else longer._folded()

    def _folded(self) -> "History":
        return History.of(self.dimension, self.rows(), self._all_shards(), (), self.names)

    def _all_shards(self) -> tuple[Part, ...]:
        """The shards, the tail's differences as the last one."""
        return (*self.shards, Part.of(np.stack([difference for _, difference in self.tail]))) if len(self.tail) else self.shards

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What lies in files of its own: the shards, and the settled rows."""
        return (*self.shards, self.settled_part) if len(self.settled) else self.shards

    @cached_property
    def settled_part(self) -> Part:
        """The settled rows; they change when the tail is folded and in a reconciliation."""
        return Part.of(self.settled)

    def after(self, sequence: int) -> Iterator[Learnt]:
        """The judgments above ``sequence``, in order."""
        start = int(np.searchsorted(self.settled["sequence"], sequence, side="right"))
        at = 0
        for shard in self.shards:
            for place in range(max(start - at, 0), len(shard.array)):
                yield self.settled[at + place], shard.array[place]
            at += len(shard.array)
        for row, difference in self.tail:
            if row["sequence"] > sequence:
                yield row, difference

    def counts_pair(self, pair: int) -> bool:
        """Whether a row that counts belongs to this pair."""
        if self.tail.counts_pair(pair):
            return True
        at = int(np.searchsorted(self.settled_pairs, np.uint64(pair)))
        return at < len(self.settled_pairs) and int(self.settled_pairs[at]) == pair

    def find(self, sequence: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The row and the difference of ``sequence``, or None."""
        for row, difference in self.tail:
            if row["sequence"] == sequence:
                return row, difference
        at = int(np.searchsorted(self.settled["sequence"], sequence))
        if at == len(self.settled) or self.settled["sequence"][at] != sequence:
            return None
        start = at
        for shard in self.shards:
            if start < len(shard.array):
                return self.settled[at], shard.array[start]
            start -= len(shard.array)
        raise AssertionError("settled rows and shards disagree")

    def without(self, sequences: Collection[int]) -> "History":
        """The history without the rows of these numbers; it costs a copy, however many they are."""
        tail = [entry for entry in self.tail if int(entry[0]["sequence"]) not in sequences]
        remaining = ~np.isin(self.settled["sequence"], list(sequences))
        return History.of(self.dimension, self.settled[remaining], self._of_settled(remaining), tail, self.names)

    def through(self, sequence: int) -> "History":
        """The history without rows above ``sequence`` and without unused names at the end of the list."""
        tail = [entry for entry in self.tail if entry[0]["sequence"] <= sequence]
        kept = self.settled["sequence"] <= sequence
        cut = History.of(self.dimension, self.settled[kept], self._of_settled(kept), tail, self.names)
        used = cut.rows()["recruiter"]
        return replace(cut, names=self.names[: int(used.max()) + 1 if len(used) else 0])

    def _of_settled(self, kept: np.ndarray) -> tuple[Part, ...]:
        """The shards with the settled rows of the mask ``kept`` only."""
        shards, start = [], 0
        for shard in self.shards:
            here = kept[start : start + len(shard.array)]
            start += len(shard.array)
            if here.any():
                shards.append(shard if here.all() else Part.of(shard.array[here]))
        return tuple(shards)

    def rows(self) -> np.ndarray:
        """All rows in order of sequence, shape ``(n,)`` of :func:`row_type`."""
        return np.concatenate([self.settled, self._tail_rows()])

    def latest_decisive(self, count: int, question: int) -> np.ndarray:
        """The rows of the latest decisive answers to a question, given by its place, at most ``count``, in order of sequence."""
        found, start = [_decisive(self._tail_rows(), question)], len(self.settled)
        while start > 0 and sum(map(len, found)) < count:
            found.insert(0, _decisive(self.settled[max(start - 2 * count, 0) : start], question))
            start -= 2 * count
        return np.concatenate(found)[-count:]

    def differences(self) -> np.ndarray:
        """All differences in order of sequence, ``(n, d)`` in half precision."""
        fresh = [difference[None] for _, difference in self.tail]
        return np.concatenate([np.empty((0, self.dimension), STORED), *(shard.array for shard in self.shards), *fresh])

    def _tail_rows(self) -> np.ndarray:
        return np.frombuffer(b"".join([row.tobytes() for row, _ in self.tail]), self.settled.dtype)

    def settle(self, rows: np.ndarray) -> "History":
        """The history with the tail as one more shard, all rows replaced by ``rows`` (with new sites), and unused names dropped."""
        used, index = np.unique(rows["recruiter"], return_inverse=True)
        names = [self.names[i] for i in used]
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.argsort(order)
        rows = rows.copy()
        rows["recruiter"] = rank[index] if len(rows) else 0
        return History.of(self.dimension, rows, self._all_shards(), (), tuple(names[i] for i in order))


def _pairs_of(rows: np.ndarray) -> np.ndarray:
    return np.sort(rows["pair"][rows["counts"]])


def _decisive(rows: np.ndarray, question: int) -> np.ndarray:
    return np.asarray(rows[~np.isnan(rows["hit"][:, question])])
