"""Selects the comparisons to train a policy on."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from storage.events import Message
from trainers.data.preference import Preference


def admissible(rows: Iterable[Preference], half_life_days: float | None) -> list[Preference]:
    """The rows to train on: deduplicated to one per pair of replies, old ones downsampled.

    If several people judged a pair, the majority decides and an even split gives no row. Of the rows ``h`` half-lives older than the newest
    a share of 2^-h is kept, selected by a hash of the row, so the selection is stable across runs.
    """
    votes: Counter[tuple[tuple[Message, ...], str, str]] = Counter()
    latest: dict[tuple[tuple[Message, ...], str, str], Preference] = {}
    for row in rows:
        if row.chosen == row.rejected:
            continue
        key = (row.prompt, row.chosen, row.rejected)
        votes[key] += 1
        previous = latest.get(key)
        if previous is None or _later(row.occurred_at, previous.occurred_at):
            latest[key] = row
    agreed = [row for key, row in latest.items() if votes[key] > votes[key[0], key[2], key[1]]]
    moments = [row.occurred_at for row in agreed if row.occurred_at is not None]
    if half_life_days is None or not moments:
        return agreed
    newest = max(moments)
    return [
        row
        for row in agreed
        if row.occurred_at is None or _hash_fraction(row) < 0.5 ** ((newest - row.occurred_at) / timedelta(half_life_days))
    ]


def _later(moment: datetime | None, other: datetime | None) -> bool:
    return moment is not None and (other is None or moment > other)


def _hash_fraction(row: Preference) -> float:
    """A number in [0, 1) derived from the row's hash."""
    text = "\x1e".join([*(f"{m.role}\x1f{m.content}" for m in row.prompt), row.chosen, row.rejected])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
