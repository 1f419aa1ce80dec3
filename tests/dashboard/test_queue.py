"""The order in which replies are shown, and leases, with a fake clock."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.actions import rating_queue
from dashboard.actions.rating_queue import LEASE, SIMULATED_HOLD, RatingQueue, WaitingFor, shown_first
from dashboard.actions.reviews import Conflict
from dashboard.status.backlog import Outstanding
from storage.events import Choice, JudgmentGiven, Response
from storage.settings import Settings
from storage.warehouse.warehouse import Warehouse
from streams.bus.open import open_bus
from streams.bus.protocol import Partition
from streams.bus.quarantine import event_in
from streams.bus.topics import TOPICS
from tests.dashboard.small_world import SmallWorld
from tests.profiles import examples
from tests.storage import facts


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
    """A clock in seconds that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class QueueWithClock:
    """A queue, its warehouse and a fake clock; ``judge`` accepts a judgment at the hub and stores it at once."""

    def __init__(self, warehouse: Warehouse, opinions: int = 1, ranking: Any = None) -> None:
        self.clock = Clock()
        self.warehouse = warehouse
        self.outstanding = Outstanding(warehouse, opinions)
        self.queue = RatingQueue(warehouse, self.outstanding, ranking, clock=self.clock)
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
    setup = QueueWithClock(warehouse)
    taken = setup.take("r-1", simulated=True)
    assert len(taken) == 6
    setup.clock.now = LEASE - 1
    assert setup.take("r-2", simulated=True) == []
    setup.clock.now = LEASE + 1
    assert setup.take("r-2", simulated=True) == taken
    assert setup.take("r-1", simulated=True) == []


def test_a_page_that_renews_keeps_its_pairs_and_one_that_is_closed_frees_them_soon(warehouse: Warehouse) -> None:
    setup = QueueWithClock(warehouse)
    pairs = setup.take("r-1", 3)
    for _ in range(20):
        setup.clock.now += LEASE / 3
        assert setup.queue.renew("r-1", pairs).held == pairs
        assert not set(pairs) & set(setup.take("r-2", 3))
    assert LEASE <= 30
    setup.clock.now += LEASE + 1
    assert set(pairs) <= set(setup.take("r-2", 6))


def test_a_page_with_an_expired_lease_gets_its_pair_again_unless_somebody_else_holds_it(warehouse: Warehouse) -> None:
    setup = QueueWithClock(warehouse)
    pairs = setup.take("r-1", 2)
    setup.clock.now = 10 * LEASE
    assert setup.take("r-2", 1) == pairs[:1]
    renewed = setup.queue.renew("r-1", pairs)
    assert (renewed.held, renewed.judged) == (pairs[1:], [])
    setup.judge("r-2", pairs[0])
    assert setup.queue.renew("r-1", pairs).judged == pairs[:1]


def test_a_renewal_reports_pairs_judged_elsewhere_or_by_this_recruiter(warehouse: Warehouse) -> None:
    setup = QueueWithClock(warehouse, opinions=2)
    pairs = setup.take("r-1", 4)
    for recruiter in ("r-2", "r-3"):
        setup.judge(recruiter, pairs[0])
    setup.judge("r-2", pairs[1])
    setup.judge("r-1", pairs[2], "skip")
    setup.queue.judged("r-1", pairs[3])  # accepted, and not in the warehouse yet
    nowhere = str(uuid4())
    renewed = setup.queue.renew("r-1", [*pairs, nowhere])
    assert renewed.held == [pairs[1]]
    assert renewed.judged == [pairs[0], pairs[2], pairs[3], nowhere]


def test_a_person_takes_free_pairs_first_and_then_those_of_simulated_recruiters_who_get_none_of_theirs(warehouse: Warehouse) -> None:
    setup = QueueWithClock(warehouse)
    simulated = setup.take("r-1", 4, simulated=True)
    free = setup.take("r-2", 2)
    assert not set(free) & set(simulated)
    assert setup.take("r-3", 1) == free[-1:]  # simulated recruiters are about to judge what they have just taken
    setup.clock.now = SIMULATED_HOLD
    assert setup.take("r-3", 4) == [free[-1], *simulated[:3]]
    assert setup.queue.renew("r-1", simulated, simulated=True).held == simulated[3:]
    assert setup.take("r-1", simulated=True) == simulated[3:]
    assert setup.take("r-4", simulated=True) == []


def test_every_person_gets_a_pair_as_long_as_one_is_unjudged_even_if_others_hold_them_all(warehouse: Warehouse) -> None:
    setup = QueueWithClock(warehouse)
    first = setup.take("r-1", 3)
    setup.clock.now = 5
    second = setup.take("r-2", 3)
    assert len({*first, *second}) == 6
    setup.clock.now = 6
    assert setup.take("r-3") == [first[-1]]  # its lease expires first; among equals, its holder reaches it last
    for pair_id in (*first, *second[:2]):
        setup.judge("r-1", pair_id)
    assert setup.take("r-3") == [second[2]]
    assert setup.take("r-4") == [second[2]]
    setup.judge("r-4", second[2])
    assert setup.take("r-3") == setup.take("r-4") == []


def test_a_released_pair_is_free_at_once_and_only_its_holder_can_release_it(warehouse: Warehouse) -> None:
    setup = QueueWithClock(warehouse)
    pairs = setup.take("r-1", simulated=True)
    setup.queue.release("r-2", pairs)
    assert setup.take("r-2", simulated=True) == []
    setup.queue.release("r-1", pairs[2:])
    assert setup.take("r-2") == pairs[2:]


@given(asks=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.booleans(), st.integers(0, 20)), max_size=25))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(40))
def test_a_pair_that_a_person_holds_never_goes_to_a_simulated_recruiter_and_every_person_gets_a_pair(
    warehouse: Warehouse, asks: list[tuple[str, int, bool, int]]
) -> None:
    setup = QueueWithClock(warehouse)
    held: dict[str, float] = {}  # by people: until when
    hold_until = 0.0  # until when a simulated recruiter may be judging something
    for name, limit, simulated, later in asks:
        setup.clock.now += later
        recruiter = f"{'s' if simulated else 'p'}-{name}"
        given_now = setup.take(recruiter, limit, simulated=simulated)
        if simulated:
            assert not any(held.get(pair_id, 0.0) > setup.clock.now for pair_id in given_now)
            hold_until = setup.clock.now + SIMULATED_HOLD
        else:
            assert given_now or setup.clock.now < hold_until
            held |= dict.fromkeys(given_now, setup.clock.now + LEASE)


def test_a_judged_pair_stays_open_for_others_but_not_for_its_recruiter(warehouse: Warehouse) -> None:
    setup = QueueWithClock(warehouse, opinions=2)
    (pair,) = setup.take("r-1", 1)
    setup.queue.judged("r-1", pair)
    assert pair not in setup.take("r-1", 3)
    assert pair in setup.take("r-2", 6)


def test_a_skipped_pair_waits_for_others_and_the_figures_say_so(warehouse: Warehouse) -> None:
    setup = QueueWithClock(warehouse)
    pairs = setup.take("r-1")
    for pair_id in pairs:
        setup.judge("r-1", pair_id, "skip")
    assert setup.queue.waiting("r-1") == WaitingFor(waiting=0, passed=6)
    assert setup.take("r-1") == []
    assert setup.queue.waiting("r-2") == WaitingFor(waiting=6, passed=0)
    assert setup.take("r-2") == pairs
    setup.judge("r-2", pairs[0])
    assert setup.queue.waiting("r-1") == WaitingFor(waiting=0, passed=5)
    assert setup.outstanding.to_rate == 5


def test_an_old_pair_is_found_when_the_newest_are_judged_or_held(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_queue, "WINDOWS", (2, 4, 2**62))
    setup = QueueWithClock(warehouse)
    newest = setup.take("r-1")
    assert len(newest) == 2
    older = setup.take("r-2")
    assert len(older) == 2
    assert not set(newest) & set(older)
    for pair_id in (*newest, *older):
        setup.queue.judged("r-1", pair_id)
    assert len(setup.take("r-1")) == 2


def test_the_warehouse_is_not_queried_when_nothing_waits(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = QueueWithClock(warehouse)
    for pair_id in setup.take("r-1"):
        setup.judge("r-1", pair_id)
    monkeypatch.setattr(warehouse, "query", lambda *_: pytest.fail("a page with nothing to show asks after every commit"))
    assert setup.take("r-1") == setup.take("r-2") == []


class Ranked:
    """A ranking that tests set; ``share`` of the turns are its."""

    def __init__(self, *pair_ids: str, share: float = 0.5) -> None:
        self.pair_ids, self.share = list(pair_ids), share

    def newest(self) -> list[str]:
        return self.pair_ids


@pytest.fixture
def arms(tmp_path: Path) -> Iterator[Warehouse]:
    """Pairs 1 to 12, embedded; even ones are asked uniformly, odd ones are informative."""
    with Warehouse.open(tmp_path / "arms.duckdb") as warehouse:
        pairs = [facts.pair(n, arm="informative" if n % 2 else "uniform") for n in range(1, 13)]
        facts.apply(warehouse, facts.Log(), *pairs, *(facts.features(n) for n in range(1, 13)))
        yield warehouse


def later_log() -> facts.Log:
    """A log on which the warehouse has read the first entries."""
    log = facts.Log()
    for topic in ("feedback.pairs", "feedback.features"):
        log.add(*[b""] * 40, topic=topic)
    return log


def pair_id(number: int) -> str:
    return str(facts.id_of("pair", number))


def numbers(pair_ids: list[str]) -> list[int]:
    return [next(n for n in range(1, 20) if pair_id(n) == each) for each in pair_ids]


def test_turns_alternate_between_the_most_informative_and_the_newest_uniform_pairs(arms: Warehouse) -> None:
    setup = QueueWithClock(arms, ranking=Ranked(*map(pair_id, (3, 9, 1)), share=0.5))
    assert numbers(setup.take("r-1", 6)) == [12, 3, 10, 9, 8, 1]
    assert numbers(setup.take("r-2", 4)) == [11, 7, 6, 5]  # nothing ranked is left: the newest


def test_turns_go_on_from_one_request_to_the_next(arms: Warehouse) -> None:
    setup = QueueWithClock(arms, ranking=Ranked(*map(pair_id, (3, 9, 1)), share=0.75))
    assert numbers([setup.take(f"r-{n}", 1)[0] for n in range(4)]) == [12, 3, 9, 1]


def test_what_was_ranked_and_has_been_judged_is_not_asked_again(arms: Warehouse) -> None:
    setup = QueueWithClock(arms, ranking=Ranked(*map(pair_id, (3, 9)), share=1.0))
    setup.judge("r-2", pair_id(3))
    assert numbers(setup.take("r-1", 2)) == [9, 12]


def test_a_priority_goes_before_everything_however_old_the_pair_is(arms: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    log = later_log()
    for n, priority in ((13, 2), (14, 9)):
        facts.apply(arms, log, facts.pair(n, priority=priority), facts.features(n))
    facts.apply(arms, log, *(facts.pair(n) for n in (15, 16)), facts.features(15), facts.features(16))
    monkeypatch.setattr(rating_queue, "WINDOWS", (2, 2**62))
    setup = QueueWithClock(arms, ranking=Ranked(pair_id(3), share=1.0))
    assert numbers(setup.take("r-1", 3)) == [14, 13, 3]


def test_a_pair_that_needs_several_opinions_is_asked_until_it_has_them(arms: Warehouse) -> None:
    log = later_log()
    facts.apply(arms, log, facts.pair(13, opinions=3), facts.features(13))
    setup = QueueWithClock(arms)
    for recruiter in ("r-1", "r-2", "r-3"):
        assert setup.take(recruiter, 1) == [pair_id(13)]
        setup.judge(recruiter, pair_id(13))
        assert setup.take(recruiter, 1) != [pair_id(13)]
    assert pair_id(13) not in setup.take("r-4", 13)
    assert setup.queue.waiting("r-4") == WaitingFor(12, 0)


def test_nobody_is_asked_about_a_response_of_their_own(tmp_path: Path) -> None:
    author, other = "r-0123456789abcdef", "r-fedcba9876543210"
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        facts.apply(warehouse, facts.Log(), facts.pair(1, b=Response(text="As I would say it.", version=author)), facts.features(1))
        setup = QueueWithClock(warehouse)
        assert setup.queue.waiting(author) == WaitingFor(waiting=0, passed=1)
        assert setup.take(author) == []
        [pair_id] = setup.take(other)
        setup.queue.check_author(other, pair_id)
        with pytest.raises(Conflict, match="wrote one of the two"):
            setup.queue.check_author(author, pair_id)
        setup.queue.check_author(author, str(facts.id_of("pair", 2)))  # not here yet: nobody knows who wrote it
