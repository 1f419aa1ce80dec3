"""The prior covariance of a panel's judgments, and its inverse with the answers' precision, without a matrix of all judgments.

The covariance is ``S Sᵀ + diag(B_1, …, B_R)``: columns that all judgments share, and a block for each recruiter. Its inverse is one inverse
a recruiter and one of the size of S, by the matrix inversion lemma (Woodbury, 1950). So n judgments of R recruiters with d features
cost O(n d² + n (n/R)²) or less, and not O(n³), and nothing is approximated. Few judgments are one block: that has less overhead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dpotrf, dtrtrs

from trainers.reward.panel.judged import Judged

FEW = 200  # judgments up to which all recruiters are one block, or as many as there are features


@dataclass(frozen=True)
class Design:
    """Judgments in the order of their recruiters, at prior scale 1.

    Attributes
    ----------
    slices : each recruiter's judgments, in the order of ``names``
    who : the number of each judgment's recruiter, ``(n,)``
    size : mean squared length of the feature differences
    features : the differences divided by the root of ``size``, ``(n, d)``
    position : 1 if A was shown first, -1 if B was, 0 if unknown
    """

    names: tuple[str, ...]
    slices: tuple[slice, ...]
    who: np.ndarray
    size: float
    features: np.ndarray
    position: np.ndarray

    @classmethod
    def of(cls, judged: Judged) -> "Design":
        """From judgments that are sorted by recruiter."""
        names, first, who, counts = np.unique(judged.recruiter, return_index=True, return_inverse=True, return_counts=True)
        size = float((judged.differences**2).sum() / max(len(judged), 1)) or 1.0
        slices = tuple(slice(int(start), int(start + count)) for start, count in zip(first, counts, strict=True))
        features = np.ascontiguousarray(judged.differences / np.sqrt(size))
        return cls(tuple(map(str, names)), slices, who, size, features, judged.position.astype(float))

    @cached_property
    def grams(self) -> tuple["np.ndarray | None", ...]:
        """The products of each recruiter's features, ``(n_r, n_r)``; None where he has judged more often than there are features."""
        return tuple(
            self.features[at] @ self.features[at].T if at.stop - at.start <= self.features.shape[1] else None for at in self.slices
        )

    @cached_property
    def gram(self) -> np.ndarray:
        """The products of all features, ``(n, n)``."""
        return np.asarray(self.features @ self.features.T)

    def covariance(
        self, scale: float, own_scale: float, position_scale: float, pull_scale: float, along: np.ndarray | None = None
    ) -> "Covariance":
        """The prior at these scales; ``along`` is one more shared column, ``(n,)``."""
        n, position = len(self.who), self.position
        if n <= max(FEW, self.features.shape[1]):
            same = self.who[:, None] == self.who[None, :]
            whole = self.gram * (scale**2 + own_scale**2 * same) + np.outer(position, position) * (position_scale**2 + pull_scale**2 * same)
            if along is not None:
                whole += np.outer(along, along)
            return Covariance((slice(0, n),), np.zeros((n, 0)), (Gram(whole),))
        shared = np.column_stack([scale * self.features, position_scale * position, *([] if along is None else [along])])
        own: list[Gram | Columns] = []
        for at, gram in zip(self.slices, self.grams, strict=True):
            if gram is None:
                own.append(Columns(np.column_stack([own_scale * self.features[at], pull_scale * position[at]])))
            else:
                own.append(Gram(own_scale**2 * gram + pull_scale**2 * np.outer(position[at], position[at])))
        return Covariance(self.slices, shared, tuple(own))


@dataclass(frozen=True)
class Gram:
    """A block of the covariance as it is, ``(k, k)``."""

    matrix: np.ndarray

    def times(self, vectors: np.ndarray) -> np.ndarray:
        return np.asarray(self.matrix @ vectors)

    def with_precision(self, precision: np.ndarray) -> "BlockInverse":
        roots = np.sqrt(precision)
        factor, log_determinant = _factor(roots[:, None] * self.matrix * roots)
        return BlockInverse(np.zeros(len(roots)), 1, factor, roots, log_determinant)


@dataclass(frozen=True)
class Columns:
    """A block of the covariance as the product of ``columns``, ``(k, d)``, with themselves, for k > d."""

    columns: np.ndarray

    def times(self, vectors: np.ndarray) -> np.ndarray:
        return np.asarray(self.columns @ (self.columns.T @ vectors))

    def with_precision(self, precision: np.ndarray) -> "BlockInverse":
        weighted = np.sqrt(precision)[:, None] * self.columns
        factor, log_determinant = _factor(weighted.T @ weighted)
        return BlockInverse(precision, -1, factor, precision[:, None] * self.columns, log_determinant)


@dataclass(frozen=True)
class BlockInverse:
    """The inverse of a block plus ``diag(1 / precision)``: ``diag(base) + sign * Hᵀ H`` with H = ``factor⁻¹ weightsᵀ``.

    ``weights`` are the diagonal of a matrix, ``(k,)``, or columns, ``(k, d)``.
    """

    base: np.ndarray
    sign: int
    factor: np.ndarray
    weights: np.ndarray
    log_determinant: float

    @cached_property
    def half(self) -> np.ndarray:
        """H."""
        return _solved(self.factor, np.diag(self.weights) if self.weights.ndim == 1 else self.weights.T)

    def times(self, vectors: np.ndarray) -> np.ndarray:
        inner = cho_solve((self.factor, True), self._weighted(vectors), check_finite=False)
        found = self.weights @ inner if self.weights.ndim == 2 else _rows(self.weights, vectors) * inner
        return np.asarray(_rows(self.base, vectors) * vectors + self.sign * found)

    def around(self, columns: np.ndarray) -> np.ndarray:
        """``columnsᵀ times columns``, ``(m, m)``."""
        inside = _solved(self.factor, self._weighted(columns))
        found = self.sign * (inside.T @ inside)
        if self.base.any():
            weighted = np.sqrt(self.base)[:, None] * columns
            found += weighted.T @ weighted
        return np.asarray(found)

    def diagonal(self) -> np.ndarray:
        return np.asarray(self.base + self.sign * (self.half**2).sum(axis=0))

    def _weighted(self, vectors: np.ndarray) -> np.ndarray:
        return np.asarray(self.weights.T @ vectors if self.weights.ndim == 2 else _rows(self.weights, vectors) * vectors)


@dataclass(frozen=True)
class Covariance:
    """The prior covariance: ``shared`` are the columns S, ``(n, m)``; ``own`` the recruiters' blocks."""

    slices: tuple[slice, ...]
    shared: np.ndarray
    own: tuple[Gram | Columns, ...]

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """The covariance times ``vectors``, ``(n,)`` or ``(n, k)``."""
        found = self.shared @ (self.shared.T @ vectors)
        for at, own in zip(self.slices, self.own, strict=True):
            found[at] += own.times(vectors[at])
        return np.asarray(found)

    def with_precision(self, precision: np.ndarray) -> "Inverse":
        """The inverse of the covariance plus ``diag(1 / precision)``."""
        blocks = tuple(own.with_precision(precision[at]) for at, own in zip(self.slices, self.own, strict=True))
        inner = np.zeros((self.shared.shape[1],) * 2)
        if inner.size:
            for at, block in zip(self.slices, blocks, strict=True):
                inner += block.around(self.shared[at])
        factor, log_determinant = _factor(inner)
        return Inverse(self.slices, self.shared, blocks, factor, log_determinant + sum(block.log_determinant for block in blocks))


@dataclass(frozen=True)
class Inverse:
    """The inverse of a covariance plus ``diag(1 / precision)``; ``log_determinant`` is that of ``1 + covariance * precision``."""

    slices: tuple[slice, ...]
    shared: np.ndarray
    blocks: tuple[BlockInverse, ...]
    factor: np.ndarray
    log_determinant: float

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """The inverse times ``vectors``, ``(n,)`` or ``(n, k)``."""
        found = self._of_blocks(vectors)
        if not self.shared.shape[1]:
            return found
        return np.asarray(found - self._of_blocks(self.shared @ cho_solve((self.factor, True), self.shared.T @ found, check_finite=False)))

    @cached_property
    def shared_half(self) -> np.ndarray:
        """H, ``(m, n)``: the inverse is the blocks' inverses minus ``Hᵀ H``."""
        if not self.shared.shape[1]:
            return np.zeros((0, len(self.shared)))
        return _solved(self.factor, self._of_blocks(self.shared).T)

    def diagonal(self) -> np.ndarray:
        return np.asarray(np.concatenate([block.diagonal() for block in self.blocks]) - (self.shared_half**2).sum(axis=0))

    def groups(self, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The inverse's rows and columns of each group of judgments."""
        number = np.concatenate([np.full(at.stop - at.start, i) for i, at in enumerate(self.slices)])
        found = []
        for at in groups:
            square = -self.shared_half[:, at].T @ self.shared_half[:, at]
            for i in set(number[at].tolist()):
                mine = np.flatnonzero(number[at] == i)
                block, inside = self.blocks[i], at[mine] - self.slices[i].start
                half = block.half[:, inside]
                square[np.ix_(mine, mine)] += np.diag(block.base[inside]) + block.sign * half.T @ half
            found.append(square)
        return found

    def _of_blocks(self, vectors: np.ndarray) -> np.ndarray:
        found = np.empty(vectors.shape)
        for at, block in zip(self.slices, self.blocks, strict=True):
            found[at] = block.times(vectors[at])
        return found


def _factor(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """The Cholesky factor of ``1 + matrix``, lower, and the logarithm of the determinant; ``matrix`` is overwritten.

    LAPACK directly: scipy's wrappers take longer than a small factorisation.
    """
    if not len(matrix):
        return matrix, 0.0
    matrix[np.diag_indices_from(matrix)] += 1
    factor, failed = dpotrf(matrix, lower=1, clean=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError("a covariance is not positive definite: the features hold values that are not finite, or far too large")
    return factor, 2 * float(np.log(np.diag(factor)).sum())


def _rows(weights: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return weights if vectors.ndim == 1 else weights[:, None]


def _solved(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(dtrtrs(factor, right, lower=1)[0])
