"""Verify finds any manual change to the warehouse file and names the event."""

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import EventUnreadable
from storage.events import EVENTS, Event, HubClaimed, PairDrawn, PreferenceJoined
from storage.events.wire import decode
from storage.warehouse.rows import INT64_LIMIT, table_of
from storage.warehouse.verify import Report, verify
from storage.warehouse.warehouse import Warehouse
from tests.storage.facts import Log, apply, features, judgment, pair, reply


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Log]:
    """A warehouse and its log: everything published and read back, with duplicates, refusals and bytes that are not an event."""
    path, log = tmp_path_factory.mktemp("made") / "warehouse.duckdb", Log()
    with Warehouse.open(path) as warehouse:
        apply(warehouse, log, HubClaimed(source="product", epoch=1, hub="hub-1"))
        warehouse.claim_epoch(2, published=0)
        apply(warehouse, log, HubClaimed(source="product", epoch=2, hub="hub-2"))
        for number in range(0, 12, 3):
            for n in range(number, number + 3):
                log.add(pair(n), features(n), judgment(n, "AB"[n % 2]), reply(n))
            warehouse.apply(log.entries[-12:])
        apply(warehouse, log, judgment(3, "skip", minute=2), judgment(0, "A"), b"no event")
        apply(warehouse, log, judgment(5, "B").model_copy(update={"strength": 1}), judgment(99), pair(4))
        numbered = warehouse.preferences_after(0, 100)
        apply(warehouse, log, *numbered[:6])
        # Retries after a failed send give duplicates, and a superseded hub is ignored; neither is a difference.
        apply(warehouse, log, numbered[5], numbered[7].model_copy(update={"epoch": 1}), *numbered[6:])
    return path, log


@pytest.fixture
def loop(made: tuple[Path, Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Warehouse, Log]]:
    """A copy to tamper with."""
    monkeypatch.setattr("storage.warehouse.verify.BATCH", 7)  # so that a few dozen entries are several batches
    shutil.copy(made[0], tmp_path / "warehouse.duckdb")
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        yield warehouse, copy.deepcopy(made[1])


def tamper(warehouse: Warehouse, log: Log, statement: str) -> Report:
    warehouse.cursor().execute(statement)
    return verify(warehouse, log.raw())


def test_a_warehouse_that_was_left_alone_is_clean(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    report = verify(warehouse, log.raw())
    assert report.findings == ()
    assert (report.entries, report.unreadable, report.behind, report.unpublished) == (len(list(log.raw())), 1, 0, 0)


def test_a_warehouse_and_log_from_before_texts_were_sealed_are_clean_after_the_migration(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    before = {"ReplySent": 3, "PairDrawn": 3, "JudgmentGiven": 1, "PairEmbedded": 1, "PreferenceJoined": 1}
    with warehouse.reading() as cursor:
        cursor.execute("ALTER TABLE reply_sent DROP COLUMN prompt_key")
        for kind, version in before.items():
            cursor.execute(f"UPDATE {table_of(EVENTS[kind])} SET schema_version = {version}")
        cursor.execute("UPDATE preference_joined SET judgment_schema_version = 1")
        cursor.execute("DELETE FROM migration WHERE name LIKE '%sealed_texts.sql'")
    warehouse.close()

    def as_it_was(value: bytes) -> bytes:
        try:
            fields = json.loads(value)
        except ValueError:
            return value
        fields.pop("prompt_key", None)
        for part in (fields, fields.get("judgment", {})):
            if part.get("kind") in before:
                part["schema_version"] = before[part["kind"]]
        return json.dumps(fields).encode()

    with Warehouse.open(warehouse.path) as migrated:
        report = verify(migrated, [(*entry[:3], as_it_was(entry[3])) for entry in log.raw()])
        assert (report.findings, report.unreadable) == ((), 1)


def test_an_event_refused_because_its_id_was_reused_is_not_missing(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    assert len(apply(warehouse, log, reply(20, event_id=judgment(1, "B").event_id)).refused) == 1
    assert verify(warehouse, log.raw()).clean


def test_an_event_that_readers_of_its_topic_refuse_is_not_missing(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    warehouse.apply([(partition, offset, None) for partition, offset, _ in log.add(pair(50), topic="feedback.judgments")])

    def event_in(entry: tuple[str, int, int, bytes]) -> Event:
        event = decode(entry[3])
        if isinstance(event, PairDrawn) and entry[0] == "feedback.judgments":
            raise EventUnreadable("it does not belong here")
        return event

    assert [finding.what for finding in verify(warehouse, log.raw()).findings] == ["missing"]
    assert verify(warehouse, log.raw(), event_in).clean


def test_the_order_in_which_partitions_are_read_does_not_matter(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    topics = {topic: [entry for entry in log.raw() if entry[0] == topic] for topic in log.topics}
    turns = [topic for topic, entries in topics.items() for _ in entries]
    random.Random(5).shuffle(turns)
    assert verify(warehouse, (topics[topic].pop(0) for topic in turns)).clean


@pytest.mark.parametrize("number", [0, 6, 11])
def test_a_row_that_was_removed_is_missing(loop: tuple[Warehouse, Log], number: int) -> None:
    event = pair(number)
    report = tamper(*loop, f"DELETE FROM pair_drawn WHERE event_id = '{event.event_id}'")
    assert ("missing", event.event_id) in {(finding.what, finding.event_id) for finding in report.findings}
    assert len({finding.event_id for finding in report.findings}) == 1


def test_a_row_that_was_doubled_is_doubled(loop: tuple[Warehouse, Log]) -> None:
    event = reply(7)
    report = tamper(*loop, f"INSERT INTO reply_sent SELECT * FROM reply_sent WHERE event_id = '{event.event_id}'")
    assert [(finding.what, finding.event_id) for finding in report.findings] == [("doubled", event.event_id)]


def test_a_row_that_was_doubled_under_another_position_is_found(loop: tuple[Warehouse, Log]) -> None:
    event = features(2)
    report = tamper(
        *loop, f"INSERT INTO pair_embedded SELECT * REPLACE (900 AS log_offset) FROM pair_embedded WHERE event_id = '{event.event_id}'"
    )
    assert {(f.what, f.event_id) for f in report.findings} == {("doubled", event.event_id), ("unknown", event.event_id), ("offset", None)}


@pytest.mark.parametrize(
    ("table", "change", "column"),
    [
        ("judgment_given", "choice = 'tie'", "choice"),
        ("judgment_given", "occurred_at = occurred_at + INTERVAL 1 MICROSECOND", "occurred_at"),
        ("judgment_given", "recruiter = 'r-9'", "recruiter"),
        ("judgment_given", "event_id = uuid()", "event_id"),
        ("judgment_given", "strength = 4", "strength"),
        ("judgment_given", "counts = NOT counts", "counts"),
        ("judgment_given", """objectives = '{"a":"B"}'""", "objectives"),
        ("pair_drawn", "prompt = replace(prompt, 'hear', 'here')", "prompt"),
        ("pair_drawn", "a_text = b_text", "a_text"),
        ("pair_drawn", "probability = 0.5", "probability"),
        ("pair_embedded", "a = b", "a"),
        ("reply_sent", "sampling_seed = NULL", "sampling_seed"),
    ],
)
def test_a_value_that_was_altered_is_named_with_its_column(loop: tuple[Warehouse, Log], table: str, change: str, column: str) -> None:
    event = {"judgment_given": judgment(8, "A"), "pair_drawn": pair(8), "pair_embedded": features(8), "reply_sent": reply(8)}[table]
    report = tamper(*loop, f"UPDATE {table} SET {change} WHERE event_id = '{event.event_id}'")
    (finding,) = report.findings
    assert (finding.what, finding.event_id) == ("altered", event.event_id)
    assert finding.words.endswith(f" {column}")


def test_a_row_that_the_log_never_had_is_unknown(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    report = tamper(
        warehouse, log, "INSERT INTO pair_drawn SELECT * REPLACE (uuid() AS event_id, 500 AS log_offset) FROM pair_drawn LIMIT 1"
    )
    assert {finding.what for finding in report.findings} == {"unknown", "offset"}
    warehouse.cursor().execute("DELETE FROM pair_drawn WHERE log_offset = 500")
    report = tamper(
        warehouse, log, "INSERT INTO reply_sent SELECT * REPLACE (uuid() AS event_id, 'elsewhere' AS log_topic) FROM reply_sent LIMIT 1"
    )
    assert "unknown" in {finding.what for finding in report.findings}


@pytest.mark.parametrize("topic", ["feedback.judgments", "feedback.preferences", "chat.replies"])
def test_an_offset_that_was_moved_back_is_found(loop: tuple[Warehouse, Log], topic: str) -> None:
    report = tamper(*loop, f"UPDATE offsets SET log_offset = log_offset - 2 WHERE log_topic = '{topic}'")
    assert [(finding.what, finding.where) for finding in report.findings] == [("offset", f"{topic}/0")]


def test_an_offset_that_was_moved_on_is_found(loop: tuple[Warehouse, Log]) -> None:
    report = tamper(*loop, "UPDATE offsets SET log_offset = log_offset + 3 WHERE log_topic = 'chat.replies'")
    assert "the log ends at 11" in report.findings[0].words


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM preference_joined WHERE sequence = 4",
        "INSERT INTO preference_joined SELECT * FROM preference_joined WHERE sequence = 4",
        "UPDATE preference_joined SET judgment_choice = 'tie' WHERE sequence = 4",
        "UPDATE preference_joined SET a = b WHERE sequence = 4",
        "UPDATE preference_joined SET epoch = 1 WHERE sequence = 4",
    ],
)
def test_a_numbered_preference_that_differs_from_its_log_is_found(loop: tuple[Warehouse, Log], statement: str) -> None:
    report = tamper(*loop, statement)
    assert [(finding.what, finding.where) for finding in report.findings] == [("preference", "preference 4")]


def test_a_removal_that_was_deleted_is_found(loop: tuple[Warehouse, Log]) -> None:
    report = tamper(*loop, "DELETE FROM preference_removed")
    assert [finding.what for finding in report.findings] == ["preference"]


def test_a_gap_in_unpublished_numbers_is_found(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    warehouse.claim_epoch(3, published=warehouse.last_sequence)
    apply(
        warehouse,
        log,
        HubClaimed(source="product", epoch=3, hub="hub-3"),
        judgment(1, "A", "r-2"),
        judgment(2, "A", "r-2"),
        judgment(3, "A", "r-2"),
    )
    assert verify(warehouse, log.raw()).unpublished == 3
    report = tamper(warehouse, log, "DELETE FROM preference_joined WHERE sequence = 15")
    assert [finding.what for finding in report.findings] == ["preference"]


def test_entries_that_the_warehouse_has_not_read_yet_are_behind_and_not_missing(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    log.add(pair(50), pair(51))
    last = next(event for event in reversed(warehouse.preferences_after(0, 100)) if isinstance(event, PreferenceJoined))
    log.add(last.model_copy(update={"sequence": last.sequence + 1}))
    report = verify(warehouse, log.raw())
    assert (report.findings, report.behind) == ((), 3)


def test_an_event_that_cannot_be_stored_is_not_missing(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    huge = reply(60).sampling.model_copy(update={"seed": INT64_LIMIT})
    warehouse.apply([(partition, offset, None) for partition, offset, _ in log.add(reply(60, sampling=huge))])
    assert verify(warehouse, log.raw()).unreadable == 2


def test_an_unclaimed_epoch_and_a_gap_in_the_numbers_on_the_log_are_found(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop
    (found,) = tamper(warehouse, log, "UPDATE numbering SET epoch = 7").findings
    assert (found.what, found.where) == ("state", "numbering")
    numbers = log.topics["feedback.preferences"]
    hole = next(place for place, event in enumerate(numbers) if isinstance(event, PreferenceJoined) and event.sequence == 4)
    numbers[hole] = numbers[hole - 1]
    found_there = {finding.where for finding in verify(warehouse, log.raw()).findings}
    assert "preference 4" in found_there
