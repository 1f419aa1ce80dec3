"""Vote integrity: what is flagged, what could not be checked, and that people who read are left alone."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.integrity import BURST, BURST_SECONDS, Given, Verdict, counted, verdicts

START = datetime(2026, 11, 30, 9, tzinfo=UTC)


def vote(number: int, **more: Any) -> Given:
    """A judgment of its own pair, a minute after the one before."""
    ordinary: dict[str, Any] = {
        "event_id": f"judgment {number}",
        "pair_id": f"pair {number}",
        "recruiter": "r-ana",
        "occurred_at": START + timedelta(minutes=number),
        "choice": "A",
        "shown_first": "A" if number % 2 else "B",
        "authors": ("base", "base"),
    }
    return Given(**ordinary | more)


def sided(sides: Sequence[bool], **more: Any) -> list[Given]:
    """Judgments for the response shown first where the side is true."""
    return [vote(n, choice="A" if first else "B", shown_first="A", **more) for n, first in enumerate(sides)]


def flagged(judgments: Sequence[Given]) -> list[int]:
    return [n for n, verdict in enumerate(verdicts(judgments)) if verdict.flags]


def test_ordinary_judgments_are_fine() -> None:
    judgments = [vote(0), vote(1, choice="tie", shown_first=None), vote(2, choice="skip"), vote(3, choice="neither")]
    assert verdicts(judgments) == [Verdict((), ())] * 4
    assert {each.state for each in verdicts(judgments)} == {"fine"}


@pytest.mark.parametrize(
    ("more", "flags"),
    [
        ({"authors": ("base", "r-ana")}, ("author",)),
        ({"authors": ("r-ana", "base")}, ("author",)),
        ({"authors": ("r-ben", "base")}, ()),
        ({"authors": ("base", "r-ana"), "choice": "skip"}, ()),
        ({"authors": ("base", "r-ana"), "rewrite": True}, ()),  # came with the rewrite
    ],
)
def test_who_wrote_a_response_should_not_judge_it(more: dict[str, Any], flags: tuple[str, ...]) -> None:
    assert verdicts([vote(0, **more)])[0].flags == flags


def test_a_second_judgment_of_the_own_rewrite_is_flagged() -> None:
    about: dict[str, Any] = {"pair_id": "pair 0", "authors": ("base", "r-ana"), "rewrite": True}
    assert flagged([vote(0, **about), vote(1, **about)]) == [1]


def test_what_cannot_be_checked_is_neither_fine_nor_refused() -> None:
    unknown, unordered, both, odd = verdicts(
        [
            vote(0, authors=None),
            vote(1, shown_first=None),
            vote(2, authors=None, shown_first=None),
            vote(3, authors=("r-ana", "base"), shown_first=None),
        ]
    )
    assert (unknown.state, unknown.unchecked) == ("unchecked", ("pair unknown",))
    assert (unordered.state, unordered.unchecked) == ("unchecked", ("order unknown",))
    assert both.unchecked == ("pair unknown", "order unknown")
    assert (odd.state, odd.unchecked) == ("flagged", ("order unknown",))


def test_a_burst_is_flagged_as_a_whole_and_nothing_around_it() -> None:
    step = timedelta(seconds=BURST_SECONDS / (BURST - 1))
    burst = [vote(n, occurred_at=START + n * step) for n in range(BURST)]
    slow = [vote(n, occurred_at=START + n * step * 1.01) for n in range(BURST)]
    assert flagged([vote(-60), *burst, vote(60)]) == list(range(1, BURST + 1))
    assert flagged(slow) == []


def test_a_burst_is_of_one_recruiter() -> None:
    assert flagged([vote(n, occurred_at=START, recruiter=f"r-{n % 2}") for n in range(2 * BURST - 2)]) == []


@pytest.mark.parametrize("side", [True, False])
def test_always_the_same_side_is_flagged_from_its_first_and_ends_with_it(side: bool) -> None:
    reading = [n % 2 == 0 for n in range(40)]
    found = flagged(sided([*reading, *[side] * 40, *reading]))
    assert len(found) >= 40
    assert set(range(41, 80)) <= set(found) <= set(range(36, 84))


def test_ties_and_unknown_orders_say_nothing_of_a_side() -> None:
    assert flagged([vote(n, choice="tie", shown_first="A") for n in range(60)]) == []
    assert flagged([vote(n, shown_first=None) for n in range(60)]) == []


def test_always_the_side_a_is_not_always_the_same_place() -> None:
    rng = random.Random(5)
    assert flagged([vote(n, choice="A", shown_first=rng.choice("AB")) for n in range(300)]) == []


def test_of_a_hundred_recruiters_who_read_nobody_is_flagged() -> None:
    rng = random.Random(7)
    judgments = [
        each for who in range(100) for each in sided([rng.random() < rng.uniform(0.4, 0.6) for _ in range(200)], recruiter=f"r-{who}")
    ]
    assert flagged(judgments) == []


def test_each_recruiters_judgments_are_counted_by_state() -> None:
    judgments = [vote(0), vote(1, authors=("r-ana", "base")), vote(2, recruiter="r-ben", authors=None)]
    counts = counted(judgments, verdicts(judgments))
    assert counts["r-ana"] == {"fine": 1, "flagged": 1}
    assert counts["r-ben"] == {"unchecked": 1}
