"""Holm's correction for several tests at once."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: one below α is significant with a chance of at most α that any true null hypothesis is rejected.

    After Holm (1979), "A simple sequentially rejective multiple test procedure": the k-th smallest of m p-values is multiplied by
    m - k + 1, and no adjusted value is below that of a smaller p-value. It holds for any dependence between the tests.
    """
    m = len(p_values)
    adjusted = [1.0] * m
    largest = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
