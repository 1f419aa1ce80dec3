"""The judgments that a head has learnt, for its reconciliations: those settled at the last one, and the tail since then.

A history is immutable: each head has its own. Feature differences, by far the largest part, are stored in shards, each for a range of
sequence numbers, so that a checkpoint writes a settled shard once and references it by hash.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

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


STORED = "<f2"  # half precision: features are of size one, and single precision would double a judgment's memory


@dataclass(frozen=True)
class Shard:
    """Feature differences (n, d), first shown minus second, in half precision; ``digest`` is the SHA-256 of the file that holds them."""

    differences: np.ndarray
    digest: str

    @classmethod
    def of(cls, differences: np.ndarray) -> "Shard":
        return cls(differences, hashlib.sha256(_file_of(differences)).hexdigest())

    def as_file(self) -> bytes:
        """The content of the safetensors file; deterministic."""
        return _file_of(self.differences)


def _file_of(differences: np.ndarray) -> bytes:
    return serialise({"differences": np.ascontiguousarray(differences)})


@dataclass(frozen=True)
class History:
    """``settled`` is in order of sequence and matches the concatenated rows of the shards; ``tail`` follows it.

    ``settled_pairs`` (sorted) and ``tail_pairs`` (with counts) index the pairs of the rows that count, because every new judgment looks
    up its pair. Build a history from rows with :meth:`of`.
    """

    dimension: int
    settled: np.ndarray
    shards: tuple[Shard, ...] = ()
    tail: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    names: tuple[str, ...] = ()
    settled_pairs: np.ndarray = field(default_factory=lambda: np.empty(0, "<u8"))
    tail_pairs: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, dimension: int, questions: int) -> "History":
        """A history without judgments."""
        return cls(dimension, np.empty(0, row_type(questions)))

    @classmethod
    def of(
        cls,
        dimension: int,
        settled: np.ndarray,
        shards: tuple[Shard, ...],
        tail: tuple[tuple[np.ndarray, np.ndarray], ...],
        names: tuple[str, ...],
    ) -> "History":
        """A history of these rows."""
        return cls(dimension, settled, shards, tail, names, _pairs_of(settled), _pairs_in(tail))

    def __len__(self) -> int:
        return len(self.settled) + len(self.tail)

    def append(self, row: np.ndarray, difference: np.ndarray, recruiter: str) -> "History":
        """The history with one more row, whose ``recruiter`` is set here."""
        names = self.names if recruiter in self.names else (*self.names, recruiter)
        row = row.copy()
        row["recruiter"] = names.index(recruiter)
        pairs = self.tail_pairs
        if row["counts"]:
            pair = int(row["pair"])
            pairs = {**pairs, pair: pairs.get(pair, 0) + 1}
        return replace(self, tail=(*self.tail, (row, difference)), names=names, tail_pairs=pairs)

    def counts_pair(self, pair: int) -> bool:
        """Whether a row that counts belongs to this pair."""
        if pair in self.tail_pairs:
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
            if start < len(shard.differences):
                return self.settled[at], shard.differences[start]
            start -= len(shard.differences)
        raise AssertionError("settled rows and shards disagree")

    def without(self, sequence: int) -> "History":
        """The history without the row of ``sequence``."""
        tail = tuple(entry for entry in self.tail if entry[0]["sequence"] != sequence)
        remaining = self.settled["sequence"] != sequence
        shards, start = [], 0
        for shard in self.shards:
            keep = remaining[start : start + len(shard.differences)]
            start += len(shard.differences)
            shards.append(shard if keep.all() else Shard.of(shard.differences[keep]))
        return History.of(self.dimension, self.settled[remaining], tuple(shards), tail, self.names)

    def through(self, sequence: int) -> "History":
        """The history without the tail's rows above ``sequence`` and without unused names at the end of the list."""
        tail = tuple(entry for entry in self.tail if entry[0]["sequence"] <= sequence)
        truncated = replace(self, tail=tail, tail_pairs=_pairs_in(tail))
        used = truncated.rows()["recruiter"]
        return replace(truncated, names=self.names[: int(used.max()) + 1 if len(used) else 0])

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
        return np.concatenate([np.empty((0, self.dimension), STORED), *(shard.differences for shard in self.shards), *fresh])

    def _tail_rows(self) -> np.ndarray:
        return np.frombuffer(b"".join([row.tobytes() for row, _ in self.tail]), self.settled.dtype)

    def settle(self, rows: np.ndarray) -> "History":
        """The history with the tail as one more shard, all rows replaced by ``rows`` (with new sites), and unused names dropped."""
        shards = self.shards
        if self.tail:
            shards = (*shards, Shard.of(np.stack([difference for _, difference in self.tail])))
        used, index = np.unique(rows["recruiter"], return_inverse=True)
        names = [self.names[i] for i in used]
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.argsort(order)
        rows = rows.copy()
        rows["recruiter"] = rank[index] if len(rows) else 0
        shards = tuple(shard for shard in shards if len(shard.differences))
        return History.of(self.dimension, rows, shards, (), tuple(names[i] for i in order))


def _pairs_of(rows: np.ndarray) -> np.ndarray:
    return np.sort(rows["pair"][rows["counts"]])


def _pairs_in(tail: tuple[tuple[np.ndarray, np.ndarray], ...]) -> Mapping[int, int]:
    return Counter(int(row["pair"]) for row, _ in tail if row["counts"])


def _decisive(rows: np.ndarray, question: int) -> np.ndarray:
    return np.asarray(rows[~np.isnan(rows["hit"][:, question])])
