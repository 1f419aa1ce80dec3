"""The order in which replies are shown, and leases, with a clock that the test turns."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import rating_queue
from dashboard.rating_queue import LEASE, RatingQueue, shown_first
from storage.settings import Settings
from storage.warehouse import Warehouse
from streams.bus import open_bus
from streams.quarantine import event_in
from streams.topics import TOPICS
from tests.dashboard.small_world import SmallWorld


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """Six pairs, embedded, none judged."""
    settings = Settings.read(tmp_path, environ={}).with_values({"home": tmp_path})
    warehouse = Warehouse.open(tmp_path / "warehouse.duckdb")
    with open_bus(settings.common.bus_url) as bus:
        SmallWorld(settings, bus).chat(6)
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


def test_a_lease_runs_out_and_the_pair_goes_to_somebody_else(warehouse: Warehouse) -> None:
    now = [0.0]
    queue = RatingQueue(warehouse, 2, clock=lambda: now[0])
    taken = {pair.pair_id for pair in queue.take("r-1", 6)}
    assert len(taken) == 6
    now[0] = LEASE - 1
    assert queue.take("r-2", 6) == []
    now[0] = LEASE + 1
    assert {pair.pair_id for pair in queue.take("r-2", 6)} == taken
    assert queue.take("r-1", 6) == []


def test_a_judged_pair_is_free_for_others_and_gone_for_its_recruiter(warehouse: Warehouse) -> None:
    queue = RatingQueue(warehouse, 2, clock=lambda: 0.0)
    (pair,) = queue.take("r-1", 1)
    queue.judged("r-1", pair.pair_id)
    assert pair.pair_id not in {each.pair_id for each in queue.take("r-1", 3)}
    assert pair.pair_id in {each.pair_id for each in queue.take("r-2", 6)}


def test_a_pair_that_lies_far_back_is_found_when_the_newest_are_judged(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_queue, "NEWEST", 2)
    queue = RatingQueue(warehouse, 1, clock=lambda: 0.0)
    everything = queue.take("r-1", 6)
    assert len(everything) == 6
    for pair in everything[:5]:
        queue.judged("r-1", pair.pair_id)
    assert [pair.pair_id for pair in queue.take("r-1", 6)] == [everything[5].pair_id]
