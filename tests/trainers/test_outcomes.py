"""The tables of recorded outcomes: what enters, what is unknown, and the median of the full sample."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from storage.errors import InputRefused
from storage.events import GroupsRecorded, OutcomeRecorded
from storage.texts.texts import PLAIN
from storage.warehouse.warehouse import Warehouse
from tests.storage.facts import Log, apply, at, id_of, reply
from trainers.audits.outcomes.tables import OutcomesTable, outcomes_table

JANUARY = (date(2026, 1, 1), date(2026, 1, 31))


def groups(candidate: str, **values: str) -> GroupsRecorded:
    return GroupsRecorded(event_id=id_of("groups", candidate), occurred_at=at(0), source="product", candidate=candidate, groups=values)


def outcome(candidate: str, selected: bool, **values: Any) -> OutcomeRecorded:
    fields: dict[str, Any] = {
        "event_id": id_of("outcome", candidate, *values.items()),
        "occurred_at": at(0),
        "source": "product",
        "outcome_id": f"application-{candidate}",
        "position": "nurse",
        "stage": "screening",
        "decided_at": datetime(2026, 1, 15, tzinfo=UTC),
    }
    return OutcomeRecorded(candidate=candidate, selected=selected, **(fields | values))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Warehouse, Log]]:
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        yield warehouse, Log()


def found(house: tuple[Warehouse, Log], *events: GroupsRecorded | OutcomeRecorded, **arguments: Any) -> OutcomesTable:
    apply(*house, *events)
    return outcomes_table(house[0], PLAIN, *JANUARY, **arguments)


def test_required_tables_come_first_and_people_of_unknown_groups_are_counted_in_each(house: tuple[Warehouse, Log]) -> None:
    people = [
        groups("a", sex="female", race_ethnicity="Asian"),
        groups("b", sex="male", race_ethnicity="Unknown"),
        groups("c", sex="prefer_not_to_say", race_ethnicity="White", age="40 and over"),
    ]
    table = found(house, *people, *(outcome(name, name == "a") for name in "abcd"))
    (stage,) = table.stages
    assert [(each.attributes, each.n, each.unknown) for each in stage.selection] == [
        (("sex",), 2, 2),
        (("race_ethnicity",), 2, 2),
        (("sex", "race_ethnicity"), 1, 3),
        (("age",), 1, 3),
    ]
    assert [(row.category, row.n, row.selected) for row in stage.selection[2].rows] == [(("female", "Asian"), 1, 1)]
    assert (table.applications, table.candidates, table.without_groups, stage.scoring) == (4, 4, 1, ())


def test_the_latest_record_of_a_decision_counts_once_and_stages_are_apart(house: tuple[Warehouse, Log]) -> None:
    table = found(
        house,
        groups("a", sex="female"),
        outcome("a", False),
        outcome("a", True, score=1.0),
        outcome("a", False, outcome_id="second", position="driver"),
        outcome("a", True, outcome_id="third", stage="interview"),
    )
    assert [(stage.stage, stage.applications, stage.candidates, stage.positions) for stage in table.stages] == [
        ("interview", 1, 1, 1),
        ("screening", 2, 1, 2),
    ]
    assert [row.selected for row in table.stages[1].selection[0].rows] == [1]


def test_days_are_included_whole_and_sources_only_where_named(house: tuple[Warehouse, Log]) -> None:
    moments = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)]
    apply(*house, *(outcome(f"p{n}", True, decided_at=moment) for n, moment in enumerate(moments)))
    table = found(house, outcome("s", True, source="simulation"))
    assert (table.applications, table.sources) == (2, ("product",))
    assert outcomes_table(house[0], PLAIN, *JANUARY, ("simulation", "product")).applications == 3
    with pytest.raises(InputRefused, match="before from"):
        outcomes_table(house[0], PLAIN, date(2026, 2, 1), date(2026, 1, 1))


def test_the_median_is_that_of_the_full_sample_and_a_score_at_it_is_not_above(house: tuple[Warehouse, Log]) -> None:
    scores = {"a": 1.0, "b": 3.0, "c": 4.0, "unknown-1": 3.0, "unknown-2": 9.0}  # known people alone would have the same median of 3
    known = [groups("a", sex="female"), groups("b", sex="male"), groups("c", sex="male")]
    later = [outcome(name, False, score=score) for name, score in (scores | {"unknown-3": 8.0}).items()]
    (stage,) = found(house, *known, *later, outcome("none", True)).stages
    assert (stage.scored, stage.median_score, stage.applications) == (6, 3.5, 7)  # of 1, 3, 3, 4, 8, 9
    assert [(row.category, row.n, row.selected) for row in stage.scoring[0].rows] == [(("female",), 1, 0), (("male",), 2, 1)]
    assert stage.scoring[0].unknown == 3


def test_no_decisions_give_no_stages_and_the_first_reply_is_named(house: tuple[Warehouse, Log]) -> None:
    apply(*house, reply(3), reply(1))
    table = found(house)
    assert (table.stages, table.applications, table.first_reply) == ((), 0, at(1))
