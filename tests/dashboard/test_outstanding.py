"""The incremental backlog counts equal those queried from the warehouse."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.status.backlog import Outstanding
from storage.events import Event, Response
from storage.warehouse.warehouse import Warehouse
from tests.profiles import examples
from tests.storage.facts import Log, apply, features, id_of, judgment, pair

PAIRS = [str(id_of("pair", n)) for n in range(1, 6)]
AUTHORS = ["r-0123456789abcdef", "r-fedcba9876543210", "r-no pseudonym"]
NUMBERS = st.integers(1, 5)
EVENTS = st.one_of(
    st.builds(pair, st.sampled_from([1, 2, 3]), drawn=st.sampled_from(["sampled", "imported", "edited"])),
    st.builds(pair, st.just(4), opinions=st.just(2), priority=st.just(1)),
    st.builds(pair, st.just(5), opinions=st.just(1), arm=st.just("informative")),
    st.builds(pair, st.sampled_from([1, 4]), b=st.builds(Response, text=st.just("By a recruiter."), version=st.sampled_from(AUTHORS))),
    st.builds(features, NUMBERS),
    st.builds(judgment, NUMBERS, st.sampled_from(["A", "tie", "skip"]), st.sampled_from(["r-1", "r-2"]), st.integers(-3, 3)),
)


@pytest.mark.processes
@settings(max_examples=examples(40))
@given(batches=st.lists(st.lists(EVENTS, max_size=6), max_size=5), restart=st.integers(0, 5), opinions=st.integers(1, 3))
def test_in_any_order_and_over_a_restart_the_counts_are_those_of_the_tables(
    batches: list[list[Event]], restart: int, opinions: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, Warehouse.open(Path(folder) / "warehouse.duckdb") as warehouse:
        log, counted = Log(), Outstanding(warehouse, opinions)
        for number, batch in enumerate(batches):
            if number == restart:
                counted = Outstanding(warehouse, opinions)
            applied = apply(warehouse, log, *batch)
            counted.note(applied.stored)
            rows = warehouse.query("waiting", {"limit": 100}).to_pylist()
            waiting = counted.waiting()
            assert counted.to_rate == warehouse.query("pairs_to_rate", {"opinions": opinions}).to_pylist()[0]["n"]
            for recruiter in ("r-1", "r-2", "r-3", *AUTHORS[:2]):  # the count of waiting pairs equals what the queue would give them
                asked = {"recruiter": recruiter, "opinions": opinions, "limit": 100, "window": 100}
                given_to_them = {row["pair_id"] for row in warehouse.query("rating_queue", asked).to_pylist()}
                assert counted.open_to(recruiter, PAIRS) == given_to_them
                assert counted.waiting_for(recruiter) == len(given_to_them) == counted.to_rate - counted.passed(recruiter)
            assert waiting.without_pair == sum("pair" in row["waits_for"] for row in rows)
            assert waiting.without_features == sum(row["waits_for"] == "features" for row in rows)
            assert waiting.oldest == min((row["occurred_at"] for row in rows), default=None)
