"""Interventions are counted on the overview, after a restart too, and verified against the log."""

from contextlib import closing
from pathlib import Path

from dashboard.pages.interventions import interventions
from dashboard.status.counters import Tally
from dashboard.status.models import Intervened
from storage.events import InterventionMade
from storage.warehouse.verify import verify
from storage.warehouse.warehouse import Warehouse
from tests.storage.facts import Log, apply, at, id_of


def made(number: int, name: str, action: str, times: int = 1) -> InterventionMade:
    return InterventionMade(
        event_id=id_of("intervention", number),
        occurred_at=at(number),
        source="product",
        conversation_id="c-1",
        stage="reply",
        filter=name,
        action=action,
        finding="promise",
        times=times,
    )


def test_the_counts_are_those_of_the_table_before_and_after_a_restart(tmp_path: Path) -> None:
    log, path = Log(), tmp_path / "warehouse.duckdb"
    counted = (Intervened(filter="conduct", action="replace", n=5), Intervened(filter="injection", action="flag", n=1))
    with closing(Warehouse.open(path)) as warehouse:
        tally = Tally(warehouse)
        assert not tally.interventions
        tally.note(apply(warehouse, log, made(1, "conduct", "replace", 2), made(2, "injection", "flag")))
        tally.note(apply(warehouse, log, made(3, "conduct", "replace", 3), made(1, "conduct", "replace", 2)))  # one is a repeat
        assert tally.interventions == counted
        assert verify(warehouse, log.raw()).clean
    with closing(Warehouse.open(path)) as warehouse:
        assert Tally(warehouse).interventions == counted
        assert warehouse.events(InterventionMade)[0] == made(1, "conduct", "replace", 2)


def test_the_overview_says_what_was_counted() -> None:
    text = str(interventions([Intervened(filter="conduct", action="replace", n=12), Intervened(filter="own", action="block", n=1)]))
    assert "Unlawful questions, promises and preferences in replies: left out or quoted" in text
    assert "Dd('12')" in text
    assert "own: reply replaced" in text
    assert "No intervention yet." in str(interventions([]))
