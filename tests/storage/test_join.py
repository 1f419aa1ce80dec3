"""A judgment, its pair and its features meet in any order, once, under the next number."""

from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import WarehouseError
from storage.events import Event, HubClaimed, JudgmentGiven, PairEmbedded, PreferenceJoined, PreferenceRemoved, derived_id
from storage.events.wire import WRITTEN, encode
from storage.warehouse.entries import Entry
from storage.warehouse.join import Join, Pair
from storage.warehouse.warehouse import Warehouse
from tests.profiles import examples
from tests.storage.facts import Log, apply, features, joined, judgment, one_of_each, pair


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(tmp_path / "warehouse.duckdb") as opened:
        opened.claim_epoch(1, published=0)
        yield opened


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_the_judgment_is_joined_when_the_last_of_the_three_arrives(warehouse: Warehouse, order: tuple[int, int, int]) -> None:
    log, facts = Log(), (pair(1), features(1), judgment(1, "A"))
    for index in order[:2]:
        assert apply(warehouse, log, facts[index]).numbered == ()
    assert warehouse.waiting == (2 in order[:2])
    (entry,) = apply(warehouse, log, facts[order[2]]).numbered
    assert warehouse.waiting == 0
    validated = PreferenceJoined(
        event_id=derived_id("PreferenceJoined", facts[2].event_id),
        occurred_at=facts[2].occurred_at,
        source="product",
        epoch=1,
        sequence=1,
        judgment=facts[2],
        stratum=pair(1).stratum,
        embedding_hash=features(1).embedding_hash,
        a=features(1).a,
        b=features(1).b,
    )
    assert entry == validated
    assert (encode(entry), entry.model_fields_set) == (encode(validated), validated.model_fields_set | WRITTEN | {"kind"})
    assert warehouse.preferences_after(0, 10) == [entry]


@pytest.mark.parametrize(
    ("choice", "objectives", "numbers"),
    [
        ("A", {}, 1),
        ("B", {}, 1),
        ("tie", {}, 1),
        ("neither", {}, 0),
        ("skip", {"helpful": "A"}, 0),
        (None, {"helpful": "B"}, 1),
        (None, {"helpful": "skip"}, 0),
        (None, {"helpful": "neither", "safe": "tie"}, 1),
    ],
)
def test_only_decisive_judgments_are_numbered(warehouse: Warehouse, choice: str | None, objectives: dict[str, str], numbers: int) -> None:
    applied = apply(warehouse, Log(), pair(1), features(1), judgment(1, choice, objectives=objectives))
    assert len(applied.numbered) == numbers
    assert len(applied.stored) == 3


def test_several_recruiters_each_count_on_one_pair(warehouse: Warehouse) -> None:
    applied = apply(warehouse, Log(), pair(1), features(1), judgment(1, "A"), judgment(1, "B", "r-2"))
    assert [(entry.kind, entry.sequence) for entry in applied.numbered] == [("PreferenceJoined", 1), ("PreferenceJoined", 2)]


def test_a_later_judgment_of_the_same_recruiter_takes_the_place_of_the_earlier(warehouse: Warehouse) -> None:
    log = Log()
    apply(warehouse, log, pair(1), features(1), judgment(1, "A"))
    removed, new = apply(warehouse, log, judgment(1, "B", minute=1)).numbered
    assert isinstance(removed, PreferenceRemoved)
    assert (removed.sequence, removed.removes) == (2, 1)
    assert removed.event_id == derived_id("PreferenceRemoved", judgment(1, "A").event_id)
    assert isinstance(new, PreferenceJoined)
    assert (new.sequence, new.judgment.choice) == (3, "B")


@pytest.mark.parametrize("withdrawal", ["skip", "neither"])
def test_a_later_skip_removes_the_preference_and_a_new_choice_adds_one(warehouse: Warehouse, withdrawal: str) -> None:
    log = Log()
    apply(warehouse, log, pair(1), features(1), judgment(1, "A"))
    (removed,) = apply(warehouse, log, judgment(1, withdrawal, minute=1)).numbered
    assert isinstance(removed, PreferenceRemoved)
    assert removed.removes == 1
    (again,) = apply(warehouse, log, judgment(1, "B", minute=2)).numbered
    assert (again.kind, again.sequence) == ("PreferenceJoined", 3)


def test_of_two_judgments_by_one_recruiter_the_later_on_the_log_wins_whatever_the_timestamps(tmp_path: Path) -> None:
    days_ahead, corrected = judgment(1, "A", minute=14_400), judgment(1, "B")
    log = Log()
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, pair(1), features(1), days_ahead)
        removed, new = apply(warehouse, log, corrected).numbered
    assert isinstance(removed, PreferenceRemoved)
    assert isinstance(new, PreferenceJoined)
    assert (removed.removes, new.judgment) == (1, corrected)
    # also if the judgments wait, or are numbered by a starting hub
    with Warehouse.open(tmp_path / "waiting.duckdb") as warehouse:
        apply(warehouse, Log(), days_ahead, corrected, pair(1), features(1))
        (entry,) = warehouse.claim_epoch(1, published=0)
        assert isinstance(entry, PreferenceJoined)
        assert entry.judgment == corrected


def test_a_starting_hub_numbers_judgments_that_an_older_version_skipped_because_of_timestamps(tmp_path: Path) -> None:
    log, days_ahead, corrected = Log(), judgment(1, "A", minute=14_400), judgment(1, "B")
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, pair(1), features(1), days_ahead)
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        apply(warehouse, log, corrected)  # an older version compared timestamps, and so never numbered it
        removed, new = warehouse.claim_epoch(2, published=1)
        assert isinstance(removed, PreferenceRemoved)
        assert isinstance(new, PreferenceJoined)
        assert new.judgment == corrected
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        assert warehouse.claim_epoch(3, published=3) == ()


def test_an_evicted_pair_is_fetched_from_the_warehouse(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.warehouse.join.MAX_UNJUDGED", 0)
    monkeypatch.setattr("storage.warehouse.join.MAX_JUDGED", 0)
    log = Log()
    apply(warehouse, log, pair(1), features(1))
    assert [entry.sequence for entry in apply(warehouse, log, judgment(1, "A")).numbered] == [1]
    assert [entry.kind for entry in apply(warehouse, log, judgment(1, "skip", minute=1)).numbered] == ["PreferenceRemoved"]
    assert [entry.sequence for entry in apply(warehouse, log, judgment(1, "B", minute=0.5)).numbered] == [3]
    assert [entry.sequence for entry in apply(warehouse, log, judgment(1, "A", "r-2"), judgment(2)).numbered] == [4]
    assert warehouse.waiting == 1


def test_least_recently_used_judged_pairs_are_evicted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.warehouse.join.MAX_JUDGED", 1)
    asked: list[UUID] = []

    def load(ids: Collection[UUID]) -> dict[UUID, Pair]:
        asked.extend(ids)
        return {}

    join = Join(1, 0, {}, load)
    join.step([event for n in (1, 2, 3) for event in (pair(n), features(n))])
    join.step([judgment(1), judgment(2)])
    join.step([judgment(3, "B", "r-2")])
    assert asked == []
    join.step([judgment(3, "A", "r-3"), judgment(2, "B", "r-2")])
    assert asked == [pair(2).pair_id]


def test_joining_recent_pairs_does_not_query_the_warehouse() -> None:
    def load(ids: object) -> dict[Any, Pair]:
        raise AssertionError(f"asked for {ids}")

    join = Join(1, 0, {}, load)
    assert join.step([pair(n) for n in range(9)]) == []
    assert join.incomplete == 9
    assert join.step([features(n) for n in range(9)]) == []
    assert [entry.sequence for entry in join.step([judgment(n) for n in range(9)])] == list(range(1, 10))
    assert (join.incomplete, join.waiting) == (0, 0)


def test_waiting_judgments_survive_a_restart(tmp_path: Path) -> None:
    log = Log()
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, judgment(1), judgment(2), features(2), pair(3), judgment(3), judgment(3, "skip", minute=1))
        assert warehouse.waiting == 4
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        assert warehouse.claim_epoch(2, published=0) == ()
        assert warehouse.waiting == 4
        waits = {row["event_id"]: row["waits_for"] for row in warehouse.query("waiting", {"limit": 10}).to_pylist()}
        assert waits[str(judgment(1).event_id)] == "pair and features"
        assert waits[str(judgment(2).event_id)] == "pair"
        assert waits[str(judgment(3).event_id)] == "features"
        assert [entry.kind for entry in apply(warehouse, log, features(3)).numbered] == ["PreferenceJoined", "PreferenceRemoved"]
        assert [entry.sequence for entry in apply(warehouse, log, pair(2), pair(1), features(1)).numbered] == [3, 4]


def test_nothing_is_numbered_before_the_epoch_is_claimed_and_everything_then(tmp_path: Path) -> None:
    log = Log()
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        apply(warehouse, log, pair(1), features(1), judgment(1, "A"), judgment(1, "B", minute=1), judgment(1, "skip", "r-2"), judgment(2))
        assert warehouse.last_sequence == 0
        (entry,) = warehouse.claim_epoch(4, published=0)
        assert isinstance(entry, PreferenceJoined)
        assert (entry.epoch, entry.sequence, entry.judgment.choice) == (4, 1, "B")
        assert warehouse.waiting == 1


def test_a_replay_takes_its_numbers_from_the_log(tmp_path: Path) -> None:
    log = Log()
    with Warehouse.open(tmp_path / "first.duckdb") as first:
        first.claim_epoch(1, published=0)
        # In this order the second pair is joined first; a replay with numbers of its own would order them by time.
        apply(first, log, judgment(1), judgment(2), pair(2), features(2), pair(1), features(1), judgment(1, "skip", minute=9))
        numbered = first.preferences_after(0, 10)
    log.add(HubClaimed(source="product", epoch=1, hub="hub-1"), *numbered)
    for name, entries in (("all-first", log.entries), ("preferences-first", log.entries[-4:] + log.entries[:-4])):
        with Warehouse.open(tmp_path / f"{name}.duckdb") as again:
            for entry in entries:
                again.apply([entry])
            assert again.preferences_after(0, 10) == numbered
            assert again.epoch == 1
            assert again.claim_epoch(2, published=3) == ()
            assert {entry.epoch for entry in again.preferences_after(0, 10)} == {1}


def test_unpublished_entries_take_the_new_epoch(tmp_path: Path) -> None:
    log = Log()
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, pair(1), features(1), judgment(1, "A"), judgment(1, "B", minute=1))
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(2, published=1)
        assert [(entry.sequence, entry.epoch) for entry in warehouse.preferences_after(0, 10)] == [(1, 1), (2, 2), (3, 2)]


def test_entries_of_a_superseded_hub_are_ignored(tmp_path: Path) -> None:
    joined_event = next(event for event in one_of_each() if isinstance(event, PreferenceJoined)).model_copy(
        update={"sequence": 1, "epoch": 1}
    )
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        apply(warehouse, Log(), HubClaimed(source="product", epoch=2, hub="new"), joined_event)
        assert warehouse.last_sequence == 0


def test_a_log_that_disagrees_with_the_warehouse_is_an_error(warehouse: Warehouse, tmp_path: Path) -> None:
    log = Log()
    other = next(event for event in one_of_each() if isinstance(event, PreferenceJoined))
    apply(warehouse, log, pair(1), features(1), judgment(1))
    with pytest.raises(WarehouseError, match=r"entry 1 is .* replay"):
        apply(warehouse, Log(), other.model_copy(update={"sequence": 1}))
    with pytest.raises(WarehouseError, match="it has entry 7, and here the last one is 1"):
        apply(warehouse, Log(), other.model_copy(update={"sequence": 7}))
    with pytest.raises(WarehouseError, match="stop one of the two"):
        apply(warehouse, Log(), HubClaimed(source="product", epoch=9, hub="hub-2"))
    with pytest.raises(WarehouseError, match="claim a higher one"):
        warehouse.claim_epoch(1, published=0)
    with pytest.raises(WarehouseError, match=r"reaches entry 2 .* replay"):
        warehouse.claim_epoch(2, published=2)
    assert warehouse.preferences_after(0, 10)
    with Warehouse.open(tmp_path / "other.duckdb") as empty, pytest.raises(WarehouseError, match="it has entry 7"):
        apply(empty, Log(), other.model_copy(update={"sequence": 7}))


CHOICES = st.sampled_from(["A", "B", "tie", "neither", "skip", None])


@st.composite
def histories(draw: st.DrawFn) -> list[list[Event]]:
    """The facts of a few pairs, by topic; some repeated, some with a partner missing."""
    numbers = range(draw(st.integers(1, 3)))
    given = [
        judgment(number, choice, f"r-{recruiter}", minute, objectives={} if choice else {"helpful": "B"})
        for number, choice, recruiter, minute in draw(
            st.lists(st.tuples(st.sampled_from(numbers), CHOICES, st.integers(1, 2), st.integers(0, 3)), max_size=8)
        )
    ]
    pairs: list[Event] = [pair(number) for number in draw(st.permutations(numbers))]
    embedded: list[Event] = [features(number) for number in draw(st.lists(st.sampled_from(numbers), unique=True))]
    return [pairs + draw(st.lists(st.sampled_from(pairs), max_size=2)), embedded, list(given)]


@st.composite
def interleaved(draw: st.DrawFn, topics: list[list[Event]]) -> list[list[Entry]]:
    """One way the topics may come in, cut into batches; some batches come twice."""
    logs = [Log().add(*events) for events in topics]
    turns = draw(st.permutations([which for which, entries in enumerate(logs) for _ in entries]))
    positions = [iter(entries) for entries in logs]
    entries = [next(positions[which]) for which in turns]
    cuts = sorted(draw(st.sets(st.integers(0, len(entries)), max_size=4)) | {0, len(entries)})
    batches = [entries[low:high] for low, high in pairwise(cuts)]
    return [batch for batch in batches for _ in range(draw(st.integers(1, 2)))]


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_repeats_and_any_interleaving_give_the_same_rows_and_the_same_preferences(data: st.DataObject, tmp_path_factory: Any) -> None:
    topics = data.draw(histories())
    results = []
    for _ in range(2):
        batches = data.draw(interleaved(topics))
        reopen = data.draw(st.none() | st.integers(0, len(batches)))
        path = tmp_path_factory.mktemp("join") / "w.duckdb"
        warehouse = Warehouse.open(path)
        try:
            warehouse.claim_epoch(1, published=0)
            for number, batch in enumerate(batches):
                if number == reopen:
                    warehouse.close()
                    warehouse = Warehouse.open(path)
                    warehouse.claim_epoch(2, published=0)
                warehouse.apply(batch)
            numbered = warehouse.preferences_after(0, 1_000)
            assert [entry.sequence for entry in numbered] == list(range(1, len(numbered) + 1))
            rows = {kind: warehouse.events(kind) for kind in {type(event) for events in topics for event in events}}
            results.append((rows, {entry.event_id for entry in numbered}, joined(numbered), warehouse.waiting))
        finally:
            warehouse.close()
    assert results[0] == results[1]
    _, _, holding, waiting = results[0]
    assert holding == expected(topics)
    complete = {event.pair_id for event in topics[1] if isinstance(event, PairEmbedded)}
    assert waiting == len({e.event_id for e in topics[2] if isinstance(e, JudgmentGiven) and e.pair_id not in complete})


def expected(topics: list[list[Event]]) -> set[tuple[Any, str]]:
    """The current preferences, computed from the rule alone."""
    embedded = {event.pair_id for event in topics[1] if isinstance(event, PairEmbedded)}
    latest: dict[Any, JudgmentGiven] = {}
    known: set[UUID] = set()
    for event in topics[2]:
        if event.event_id in known:  # a repeat changes nothing
            continue
        known.add(event.event_id)
        assert isinstance(event, JudgmentGiven)
        latest[event.pair_id, event.recruiter] = event
    strata = {pair(number).pair_id: pair(number).stratum for number in range(3)}
    return {
        (event.event_id, strata[event.pair_id])
        for event in latest.values()
        if event.pair_id in embedded and (event.choice in ("A", "B", "tie") or event.choice is None)
    }
