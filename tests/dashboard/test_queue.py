"""The order in which replies are shown, and leases, with a clock that the test turns."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.actions import rating_queue
from dashboard.actions.rating_queue import IN_HAND, LEASE, RatingQueue, WaitingFor, shown_first
from dashboard.status.backlog import Outstanding
from storage.events import Choice, JudgmentGiven
from storage.settings import Settings
from storage.warehouse.warehouse import Warehouse
from streams.bus.open import open_bus
from streams.bus.protocol import Partition
from streams.bus.quarantine import event_in
from streams.bus.topics import TOPICS
from tests.dashboard.small_world import SmallWorld
from tests.profiles import examples


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """Six pairs, embedded, none judged."""
    own = Settings.read(tmp_path, environ={}).with_values({"home": tmp_path})
    warehouse = Warehouse.open(tmp_path / "warehouse.duckdb")
    with closing(open_bus(own.common.bus_url)) as bus:
        SmallWorld(own, bus).chat(6)
        entries = bus.read(dict.fromkeys(bus.bounds(list(TOPICS)), -1), limit=100, wait=0)
    warehouse.apply([(entry.partition, entry.offset, event_in(entry)) for entry in entries])
    with warehouse:
        yield warehouse


def test_either_side_is_shown_first_in_half_of_all_pairs() -> None:
    first = [shown_first("r-0000000000000001", str(uuid4())) for _ in range(4000)]
    assert abs(first.count("A") / 4000 - 0.5) < 0.04  # five standard deviations


@given(recruiter=st.text(max_size=30), pair=st.uuids())
def test_a_page_loaded_again_shows_the_same_order(recruiter: str, pair: object) -> None:
    assert shown_first(recruiter, str(pair)) == shown_first(recruiter, str(pair))


class Clock:
    """Seconds that the test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A queue beside a warehouse, with a clock; ``judge`` is a judgment at the hub's own door, stored at once."""

    def __init__(self, warehouse: Warehouse, opinions: int = 1) -> None:
        self.clock = Clock()
        self.warehouse = warehouse
        self.outstanding = Outstanding(warehouse, opinions)
        self.queue = RatingQueue(warehouse, self.outstanding, clock=self.clock)
        self._stored = 0

    def take(self, recruiter: str, limit: int = 6, *, simulated: bool = False) -> list[str]:
        return [pair.pair_id for pair in self.queue.take(recruiter, limit, simulated=simulated)]

    def judge(self, recruiter: str, pair_id: str, choice: Choice = "A") -> None:
        event = JudgmentGiven(source="product", pair_id=UUID(pair_id), recruiter=recruiter, choice=choice)
        self._stored += 1
        applied = self.warehouse.apply([(Partition("feedback.judgments", 0), self._stored, event)])
        self.outstanding.note(applied.stored)
        self.queue.judged(recruiter, pair_id, opinion=choice != "skip")


def test_a_lease_runs_out_and_the_pair_goes_to_another_simulated_recruiter(warehouse: Warehouse) -> None:
    desk = Desk(warehouse)
    taken = desk.take("r-1", simulated=True)
    assert len(taken) == 6
    desk.clock.now = LEASE - 1
    assert desk.take("r-2", simulated=True) == []
    desk.clock.now = LEASE + 1
    assert desk.take("r-2", simulated=True) == taken
    assert desk.take("r-1", simulated=True) == []


def test_a_page_that_renews_keeps_its_pairs_and_one_that_is_closed_frees_them_soon(warehouse: Warehouse) -> None:
    desk = Desk(warehouse)
    pairs = desk.take("r-1", 3)
    for _ in range(20):
        desk.clock.now += LEASE / 3
        assert desk.queue.renew("r-1", pairs).held == pairs
        assert not set(pairs) & set(desk.take("r-2", 3))
    assert LEASE <= 30
    desk.clock.now += LEASE + 1
    assert set(pairs) <= set(desk.take("r-2", 6))


def test_a_page_whose_lease_ran_out_has_its_pair_again_unless_somebody_else_holds_it(warehouse: Warehouse) -> None:
    desk = Desk(warehouse)
    pairs = desk.take("r-1", 2)
    desk.clock.now = 10 * LEASE
    assert desk.take("r-2", 1) == pairs[:1]
    renewed = desk.queue.renew("r-1", pairs)
    assert (renewed.held, renewed.judged) == (pairs[1:], [])
    desk.judge("r-2", pairs[0])
    assert desk.queue.renew("r-1", pairs).judged == pairs[:1]


def test_a_renewal_says_what_was_judged_at_another_door_or_by_this_recruiter(warehouse: Warehouse) -> None:
    desk = Desk(warehouse, opinions=2)
    pairs = desk.take("r-1", 4)
    for recruiter in ("r-2", "r-3"):
        desk.judge(recruiter, pairs[0])
    desk.judge("r-2", pairs[1])
    desk.judge("r-1", pairs[2], "skip")
    desk.queue.judged("r-1", pairs[3])  # accepted, and not in the warehouse yet
    nowhere = str(uuid4())
    renewed = desk.queue.renew("r-1", [*pairs, nowhere])
    assert renewed.held == [pairs[1]]
    assert renewed.judged == [pairs[0], pairs[2], pairs[3], nowhere]


def test_a_person_takes_free_pairs_first_and_then_those_of_simulated_recruiters_who_get_none_of_theirs(warehouse: Warehouse) -> None:
    desk = Desk(warehouse)
    simulated = desk.take("r-1", 4, simulated=True)
    free = desk.take("r-2", 2)
    assert not set(free) & set(simulated)
    assert desk.take("r-3", 1) == free[-1:]  # what simulated recruiters took this moment they are about to judge
    desk.clock.now = IN_HAND
    assert desk.take("r-3", 4) == [free[-1], *simulated[:3]]
    assert desk.queue.renew("r-1", simulated, simulated=True).held == simulated[3:]
    assert desk.take("r-1", simulated=True) == simulated[3:]
    assert desk.take("r-4", simulated=True) == []


def test_every_person_gets_a_pair_as_long_as_one_is_unjudged_even_if_others_hold_them_all(warehouse: Warehouse) -> None:
    desk = Desk(warehouse)
    first = desk.take("r-1", 3)
    desk.clock.now = 5
    second = desk.take("r-2", 3)
    assert len({*first, *second}) == 6
    desk.clock.now = 6
    assert desk.take("r-3") == [first[-1]]  # its lease ends first; of those that end with it, the one that its holder comes to last
    for pair_id in (*first, *second[:2]):
        desk.judge("r-1", pair_id)
    assert desk.take("r-3") == [second[2]]
    assert desk.take("r-4") == [second[2]]
    desk.judge("r-4", second[2])
    assert desk.take("r-3") == desk.take("r-4") == []


def test_a_pair_that_is_let_go_is_free_at_once_and_only_its_holder_can_let_it_go(warehouse: Warehouse) -> None:
    desk = Desk(warehouse)
    pairs = desk.take("r-1", simulated=True)
    desk.queue.release("r-2", pairs)
    assert desk.take("r-2", simulated=True) == []
    desk.queue.release("r-1", pairs[2:])
    assert desk.take("r-2") == pairs[2:]


@given(asks=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.booleans(), st.integers(0, 20)), max_size=25))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(40))
def test_a_pair_that_a_person_holds_is_never_given_to_a_simulated_recruiter_and_no_person_is_sent_away(
    warehouse: Warehouse, asks: list[tuple[str, int, bool, int]]
) -> None:
    desk = Desk(warehouse)
    held: dict[str, float] = {}  # by people: until when
    in_hand = 0.0  # until when a simulated recruiter may be judging something
    for name, limit, simulated, later in asks:
        desk.clock.now += later
        recruiter = f"{'s' if simulated else 'p'}-{name}"
        given_now = desk.take(recruiter, limit, simulated=simulated)
        if simulated:
            assert not any(held.get(pair_id, 0.0) > desk.clock.now for pair_id in given_now)
            in_hand = desk.clock.now + IN_HAND
        else:
            assert given_now or desk.clock.now < in_hand
            held |= dict.fromkeys(given_now, desk.clock.now + LEASE)


def test_a_judged_pair_is_free_for_others_and_gone_for_its_recruiter(warehouse: Warehouse) -> None:
    desk = Desk(warehouse, opinions=2)
    (pair,) = desk.take("r-1", 1)
    desk.queue.judged("r-1", pair)
    assert pair not in desk.take("r-1", 3)
    assert pair in desk.take("r-2", 6)


def test_a_skipped_pair_waits_for_others_and_the_figures_say_so(warehouse: Warehouse) -> None:
    desk = Desk(warehouse)
    pairs = desk.take("r-1")
    for pair_id in pairs:
        desk.judge("r-1", pair_id, "skip")
    assert desk.queue.waiting("r-1") == WaitingFor(waiting=0, passed=6)
    assert desk.take("r-1") == []
    assert desk.queue.waiting("r-2") == WaitingFor(waiting=6, passed=0)
    assert desk.take("r-2") == pairs
    desk.judge("r-2", pairs[0])
    assert desk.queue.waiting("r-1") == WaitingFor(waiting=0, passed=5)
    assert desk.outstanding.to_rate == 5


def test_a_pair_that_lies_far_back_is_found_when_the_newest_are_judged_or_held(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rating_queue, "WINDOWS", (2, 4, 2**62))
    desk = Desk(warehouse)
    newest = desk.take("r-1")
    assert len(newest) == 2
    older = desk.take("r-2")
    assert len(older) == 2
    assert not set(newest) & set(older)
    for pair_id in (*newest, *older):
        desk.queue.judged("r-1", pair_id)
    assert len(desk.take("r-1")) == 2


def test_the_warehouse_is_not_asked_where_nothing_waits(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(warehouse)
    for pair_id in desk.take("r-1"):
        desk.judge("r-1", pair_id)
    monkeypatch.setattr(warehouse, "query", lambda *_: pytest.fail("a page with nothing to show asks after every commit"))
    assert desk.take("r-1") == desk.take("r-2") == []
