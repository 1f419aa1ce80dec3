"""What is odd about people's judgments. It is shown, and nothing is dropped: an odd judgment may be right.

A judgment is *flagged* for one of these reasons, *unchecked* where a check lacks what it needs, and otherwise *fine*:

- ``author``: by who wrote one of the two responses. The judgment that comes with a rewrite is none.
- ``burst``: one of ``BURST`` judgments by one recruiter within ``BURST_SECONDS``, in which nobody reads two replies each.
- ``same side``: of a run of judgments for the response shown first, or for the one shown second, that is too long for chance.

The last is a CUSUM (Page 1954) of the log-likelihood ratio of choosing one side with probability ``LAZY`` rather than ``HONEST``, one for
each side. The order shown is random, so a recruiter who reads chooses the first with a probability near one half. For one who does so
with at most ``HONEST``, each of the two sums passes the threshold by mistake at most once in ``JUDGMENTS_TO_A_MISTAKE`` judgments on
average (Lorden 1971); ``python -m benchmarks.access --only integrity`` simulates it.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from storage.events import Side

Flag = Literal["author", "burst", "same side"]
Unchecked = Literal["pair unknown", "order unknown"]
State = Literal["fine", "flagged", "unchecked"]

BURST, BURST_SECONDS = 10, 20.0
HONEST, LAZY = 0.7, 0.95  # probabilities of choosing one side
JUDGMENTS_TO_A_MISTAKE = 5_000
_THRESHOLD = math.log(JUDGMENTS_TO_A_MISTAKE)
_CHOSEN, _OTHER = math.log(LAZY / HONEST), math.log((1 - LAZY) / (1 - HONEST))


@dataclass(frozen=True)
class Given:
    """A judgment, with what is known of its pair: ``authors`` are the versions of its responses, None before the pair has arrived."""

    event_id: str
    pair_id: str
    recruiter: str
    occurred_at: datetime
    choice: str | None
    shown_first: Side | None
    authors: tuple[str, str] | None
    rewrite: bool = False

    @property
    def chose_first(self) -> bool | None:
        """Whether the response shown first was chosen; None for a tie, or if nobody knows the order."""
        return None if self.choice not in ("A", "B") or self.shown_first is None else self.choice == self.shown_first


class Verdict(NamedTuple):
    """What the checks say of a judgment."""

    flags: tuple[Flag, ...]
    unchecked: tuple[Unchecked, ...]

    @property
    def state(self) -> State:
        return "flagged" if self.flags else "unchecked" if self.unchecked else "fine"


def verdicts(judgments: Sequence[Given]) -> list[Verdict]:
    """The verdict on each of these judgments, which are in the order in which they were given."""
    flags: list[set[Flag]] = [set() for _ in judgments]
    by_recruiter: dict[str, list[int]] = defaultdict(list)
    for i, each in enumerate(judgments):
        by_recruiter[each.recruiter].append(i)
    for theirs in by_recruiter.values():
        for reason, found in (
            ("author", _by_the_author(judgments, theirs)),
            ("burst", _in_bursts(judgments, theirs)),
            ("same side", _for_one_side(judgments, theirs)),
        ):
            for i in found:
                flags[i].add(reason)  # type: ignore[arg-type]
    return [Verdict(tuple(sorted(mine)), tuple(_unchecked(judgment))) for mine, judgment in zip(flags, judgments, strict=True)]


def _unchecked(judgment: Given) -> Iterable[Unchecked]:
    if judgment.authors is None:
        yield "pair unknown"
    if judgment.choice in ("A", "B") and judgment.shown_first is None:
        yield "order unknown"


def _by_the_author(judgments: Sequence[Given], theirs: Iterable[int]) -> Iterable[int]:
    rewritten = set()
    for i in theirs:
        judgment = judgments[i]
        if judgment.authors is None or judgment.recruiter not in judgment.authors or judgment.choice == "skip":
            continue
        if judgment.rewrite and judgment.pair_id not in rewritten:
            rewritten.add(judgment.pair_id)  # came with the rewrite
        else:
            yield i


def _in_bursts(judgments: Sequence[Given], theirs: Iterable[int]) -> Iterable[int]:
    last: deque[int] = deque(maxlen=BURST)
    found: set[int] = set()
    for i in theirs:
        last.append(i)
        if len(last) == BURST and (judgments[i].occurred_at - judgments[last[0]].occurred_at).total_seconds() <= BURST_SECONDS:
            found.update(last)
    return found


def _for_one_side(judgments: Sequence[Given], theirs: Sequence[int]) -> Iterable[int]:
    found: set[int] = set()
    for side in (True, False):
        total, run = 0.0, list[int]()  # the sum, and the judgments since it was last zero
        for i in theirs:
            if (chose := judgments[i].chose_first) is None:
                continue
            total += _CHOSEN if chose is side else _OTHER
            if total <= 0:
                total, run = 0.0, []
                continue
            run.append(i)
            if total >= _THRESHOLD:
                found.update(run)
                total, run = _THRESHOLD, []  # no higher, so that it ends with the first few choices of the other side
    return found


def counted(judgments: Sequence[Given], found: Sequence[Verdict]) -> Mapping[str, Counter[State]]:
    """How many judgments of each recruiter are in each state."""
    counts: dict[str, Counter[State]] = defaultdict(Counter)
    for judgment, verdict in zip(judgments, found, strict=True):
        counts[judgment.recruiter][verdict.state] += 1
    return counts
