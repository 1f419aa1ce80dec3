"""How often does vote integrity flag recruiters who read, and how soon those who do not?

Simulated: recruiters of the world's panels choose the response shown first with a probability whose log-odds are N(0, .3), as
``simulation`` draws their pull; the most extreme honest one chooses it with ``HONEST``; a lazy one with .98. A mistake is the first flag of
such a recruiter; after it the recruiter starts again.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from benchmarks.figures import Figure
from streams.integrity import HONEST, JUDGMENTS_TO_A_MISTAKE, Given, verdicts

START = datetime(2026, 1, 1, tzinfo=UTC)
PULL, LAZY = 0.3, 0.98


def figures(quick: bool) -> Iterator[Figure]:
    """Judgments to a mistake at ``HONEST``, flagged judgments of a panel that reads, and judgments until a lazy recruiter is flagged."""
    rng = np.random.default_rng(22_000)
    recruiters, judgments = (50, 4_000) if quick else (400, 20_000)
    runs = [_first_flags(rng, HONEST, judgments) for _ in range(recruiters)]
    mistakes = sum(runs)
    yield Figure(
        "integrity_judgments_to_a_mistake",
        recruiters * judgments / max(mistakes, 1),
        None,
        None,
        f"judgments, for who chooses one side with {HONEST:g}; {mistakes} mistakes",
        f">={JUDGMENTS_TO_A_MISTAKE / 2:g}",  # either of the two sums
    )
    flagged = [_share_flagged(rng, 1 / (1 + np.exp(-rng.normal(0, PULL))), 500) for _ in range(recruiters)]
    yield Figure("integrity_flagged_of_readers", float(np.mean(flagged)), None, None, f"share, {recruiters} recruiters of 500", "<=.001")
    delays = sorted(_delay(rng, LAZY) for _ in range(recruiters))
    yield Figure(
        "integrity_judgments_to_lazy",
        float(np.median(delays)),
        delays[0],
        delays[-1],
        f"judgments, for who chooses one side with {LAZY:g}",
        "",
    )


def _first_flags(rng: np.random.Generator, share: float, judgments: int) -> int:
    """How often a recruiter is flagged who starts again after each flag."""
    sides, flags, start = rng.random(judgments) < share, 0, 0
    while (found := _first(sides[start:])) is not None:
        flags, start = flags + 1, start + found + 1
    return flags


def _first(sides: np.ndarray) -> int | None:
    """The number of the judgment with which the first flag comes; None without one."""
    width = 256
    while True:  # a flag is known at its last judgment: look at growing beginnings
        part = sides[:width]
        if _is_flagged(part):
            return _last_needed(part)
        if width >= len(sides):
            return None
        width *= 2


def _last_needed(part: np.ndarray) -> int:
    low, high = 0, len(part)  # flagged by the first ``high``, not by the first ``low``
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_flagged(part[:middle]) else (middle, high)
    return high - 1


def _is_flagged(sides: np.ndarray) -> bool:
    return any(each.flags for each in verdicts(_votes(sides)))


def _share_flagged(rng: np.random.Generator, share: float, judgments: int) -> float:
    return float(np.mean([bool(each.flags) for each in verdicts(_votes(rng.random(judgments) < share))]))


def _delay(rng: np.random.Generator, share: float) -> int:
    found = _first(rng.random(4_096) < share)
    assert found is not None
    return found + 1


def _votes(sides: np.ndarray) -> list[Given]:
    """Judgments, a minute apart, for the response shown first where ``sides`` is true."""
    return [
        Given(str(n), str(n), "r", START + timedelta(minutes=n), "A" if first else "B", "A", ("base", "base"))
        for n, first in enumerate(sides)
    ]
