"""Rows, offsets, deduplication and crash recovery."""

import itertools
import multiprocessing
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConfigurationError, EventUnreadable, WarehouseError
from storage.events import (
    EVENTS,
    Event,
    EventQuarantined,
    JudgmentGiven,
    ModelEvaluated,
    ModelPromoted,
    PairDrawn,
    ReplySent,
    Response,
    Sampling,
)
from storage.texts.sealed import TextKey
from storage.warehouse.deduplication import Seen, lower_halves
from storage.warehouse.entries import Entry, Partition
from storage.warehouse.rows import event_of, refuse_unstorable
from storage.warehouse.warehouse import Warehouse
from tests.storage.facts import HASH, Log, apply, features, id_of, judgment, one_of_each, pair, reply, sealed


@pytest.fixture
def warehouse(tmp_path: Path) -> Any:
    with Warehouse.open(tmp_path / "warehouse.duckdb") as opened:
        yield opened


def test_an_event_of_every_kind_comes_back_from_its_row_as_it_was(warehouse: Warehouse) -> None:
    events = [event for event in one_of_each() if event.kind not in ("PreferenceJoined", "PreferenceRemoved")]
    log = Log()
    applied = apply(warehouse, log, *events)
    assert list(applied.stored) == events
    for event in events:
        assert event in warehouse.events(type(event))
    assert warehouse.offsets() == {partition: len(log.topics[partition.topic]) - 1 for partition, _, _ in log.entries}


def test_events_of_several_kinds_come_in_the_order_of_the_log(warehouse: Warehouse) -> None:
    evaluated, promoted = (event for event in one_of_each() if isinstance(event, ModelEvaluated | ModelPromoted))
    log = Log()
    apply(warehouse, log, promoted, evaluated)
    assert warehouse.events(ModelEvaluated, ModelPromoted) == [promoted, evaluated]


def test_a_batch_read_twice_changes_nothing(warehouse: Warehouse) -> None:
    log = Log()
    batch = log.add(pair(1), pair(2))
    assert len(warehouse.apply(batch).stored) == 2
    again = warehouse.apply(batch)
    assert (again.stored, again.repeated, again.refused) == ((), 2, ())
    assert warehouse.query("counts").to_pylist()[1] == {"station": "pairs", "n": 2}


def test_an_event_that_is_twice_on_the_log_is_one_row(warehouse: Warehouse) -> None:
    log = Log()
    assert apply(warehouse, log, judgment(1), judgment(1)).repeated == 1
    assert apply(warehouse, log, judgment(1)).repeated == 1
    assert warehouse.offsets() == {("feedback.judgments", 0): 2}
    assert len(warehouse.events(JudgmentGiven)) == 1


def test_a_repeat_is_recognised_at_any_distance_and_after_opening_again(warehouse: Warehouse) -> None:
    log = Log()
    first = [
        ReplySent(**dict(reply(n)) | {"event_id": ReplySent.model_fields["event_id"].get_default(call_default_factory=True)})
        for n in range(2)
    ]
    apply(warehouse, log, *first, *(pair(n) for n in range(5)))
    assert apply(warehouse, log, *first, pair(0)).repeated == 3
    path = warehouse.path
    warehouse.close()
    with Warehouse.open(path) as reopened:
        assert apply(reopened, log, first[1], pair(1), judgment(1)).repeated == 2


def test_an_id_used_again_for_something_else_is_refused_and_named(warehouse: Warehouse) -> None:
    log = Log()
    apply(warehouse, log, judgment(1, "A"))
    changed = judgment(1, "A").model_copy(update={"choice": "B", "strength": 2})
    applied = apply(warehouse, log, changed, judgment(2))
    assert [refusal.entry[2] for refusal in applied.refused] == [changed]
    assert "choice, strength" in applied.refused[0].reason
    assert warehouse.offsets()["feedback.judgments", 0] == 2
    other_kind = reply(1, event_id=judgment(1, "A").event_id)
    assert "then JudgmentGiven, now ReplySent" in apply(warehouse, log, other_kind).refused[0].reason


def test_another_id_with_the_same_lower_half_is_new(warehouse: Warehouse) -> None:
    known = judgment(1)
    twin = judgment(2, event_id=UUID(int=(known.event_id.int ^ 1 << 100)))
    place = Partition("feedback.judgments", 0)
    assert lower_halves([(place, 0, known)]) == lower_halves([(place, 1, twin)])
    assert apply(warehouse, Log(), known, twin).stored == (known, twin)


@given(batches=st.lists(st.lists(st.integers(0, 40)), max_size=20), first=st.lists(st.integers(0, 40)))
def test_seen_behaves_like_a_set(batches: list[list[int]], first: list[int]) -> None:
    seen, truth = Seen(np.array(first, np.uint64)), set(first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.warehouse.deduplication.MIN_RUN", 4)  # so that a few numbers form a run
        for batch in batches:
            numbers = np.array(batch, np.uint64)
            assert seen.among(numbers).tolist() == [number in truth for number in batch]
            seen.add(numbers)
            truth |= set(batch)
            assert all(len(a) >= 2 * len(b) for a, b in itertools.pairwise(seen._runs))


def test_a_number_beyond_64_bits_is_refused_by_its_name() -> None:
    with pytest.raises(EventUnreadable, match=r"sampling\.seed: 18446744073709551616 does not fit"):
        refuse_unstorable(reply(1, sampling=Sampling(seed=2**64)))
    evaluated = next(event for event in one_of_each() if isinstance(event, ModelEvaluated))
    gate = evaluated.gates[0].model_copy(update={"n": 2**70})
    with pytest.raises(EventUnreadable, match="gates: Integer exceeds 64-bit range"):
        refuse_unstorable(evaluated.model_copy(update={"gates": (gate,)}))


def test_old_offset_rows_are_compacted(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.warehouse.inserts.COMPACT_AFTER", 5)
    log = Log()
    for n in range(20):
        apply(warehouse, log, pair(n), judgment(n))
        ((rows,),) = warehouse.cursor().sql("SELECT count(*) FROM offsets").fetchall()
        assert rows < 5 + 2
        assert warehouse.offsets() == {("feedback.pairs", 0): n, ("feedback.judgments", 0): n}
    with Warehouse.open(_closed(warehouse)) as again:
        assert again.offsets() == {("feedback.pairs", 0): 19, ("feedback.judgments", 0): 19}


def _closed(warehouse: Warehouse) -> Path:
    warehouse.close()
    return warehouse.path


def test_an_unreadable_entry_only_advances_the_offset(warehouse: Warehouse) -> None:
    applied = apply(warehouse, Log(), b"{", judgment(1))
    assert (len(applied.stored), applied.repeated, applied.refused) == (1, 0, ())
    assert warehouse.offsets() == {("feedback.judgments", 0): 1}


def test_a_batch_that_fails_half_way_leaves_nothing(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    warehouse.claim_epoch(1, published=0)
    apply(warehouse, log, pair(1), features(1))
    batch = log.add(judgment(1), judgment(2))

    insert = warehouse._insert

    def breaking(table: str, rows: pa.Table) -> None:
        if table == "preference_joined":
            raise RuntimeError("the disk is full")
        insert(table, rows)

    with monkeypatch.context() as patch:
        patch.setattr(warehouse, "_insert", breaking)
        with pytest.raises(RuntimeError, match="disk is full"):
            warehouse.apply(batch)
    assert (warehouse.last_sequence, warehouse.waiting, len(warehouse.events(JudgmentGiven))) == (0, 0, 0)
    assert ("feedback.judgments", 0) not in warehouse.offsets()
    assert [entry.sequence for entry in warehouse.apply(batch).numbered] == [1]
    assert warehouse.waiting == 1


def _apply_and_die(path: str, batches: list[list[Entry]]) -> None:
    import os

    warehouse = Warehouse.open(path)
    warehouse.claim_epoch(1, published=0)
    for batch in batches:
        warehouse.apply(batch)
    os._exit(9)  # no close, no checkpoint: as kill -9 leaves it


def test_a_process_that_dies_between_transactions_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    path, log = tmp_path / "warehouse.duckdb", Log()
    batches = [log.add(pair(1), judgment(1)), log.add(features(1), pair(2)), log.add(judgment(2), features(2), judgment(3))]
    process = multiprocessing.get_context("spawn").Process(target=_apply_and_die, args=(str(path), batches[:2]))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 9
    with Warehouse.open(path) as warehouse:
        assert warehouse.last_sequence == 1
        warehouse.claim_epoch(2, published=0)
        for batch in batches:
            warehouse.apply(batch)
        assert [entry.sequence for entry in warehouse.preferences_after(0, 10)] == [1, 2]
        assert warehouse.waiting == 1
        assert len(warehouse.events(JudgmentGiven)) == 3


def _hold(path: str, ready: Any, done: Any) -> None:
    with Warehouse.open(path):
        ready.set()
        done.wait(60)


def test_a_file_that_another_process_holds_is_refused_with_its_pid(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path / "w.duckdb"), ready, done))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(WarehouseError, match=rf"held by process {process.pid} .*stop it"):
            Warehouse.open(tmp_path / "w.duckdb")
    finally:
        done.set()
        process.join(timeout=60)


def test_opening_waits_for_another_process_to_release_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(path), ready, done))
    holder.start()
    try:
        assert ready.wait(60)
        threading.Timer(0.5, done.set).start()
        Warehouse.open(path, patience=60).close()
    finally:
        done.set()
        holder.join(60)


def test_a_commit_that_fails_says_why_and_leaves_nothing(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """A connection whose commit fails because the disk is full; like DuckDB's, the transaction is over then."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def commit(self) -> None:
            self._connection.rollback()
            raise duckdb.TransactionException("Failed to commit: Could not write file: No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    log = Log()
    entries = log.add(pair(1))
    with monkeypatch.context() as full:
        full.setattr(warehouse, "_connection", Full(warehouse._connection))
        with pytest.raises(duckdb.TransactionException, match="No space left"):
            warehouse.apply(entries)
    assert warehouse.offsets() == {}
    warehouse.apply(entries)
    assert len(warehouse.events(PairDrawn)) == 1


def test_texts_sealed_under_another_key_repeat_those_of_the_same_event_and_under_the_same_key_only_if_they_are_equal(
    warehouse: Warehouse,
) -> None:
    log, key, other = Log(), TextKey.new(), TextKey.new()
    said, otherwise = pair(1), pair(1, b=Response(text="Never, for job 1.", version="base"))
    apply(warehouse, log, sealed(said, key))
    for again in (sealed(said, key), sealed(said, other)):
        assert apply(warehouse, log, again).repeated == 1
    (refusal,) = apply(warehouse, log, sealed(otherwise, key)).refused
    assert "other content (b_text)" in refusal.reason
    assert len(apply(warehouse, log, said).refused) == 1  # not sealed
    assert warehouse.events(PairDrawn) == [sealed(said, key)]


def test_a_file_that_is_not_a_warehouse_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear all")
    with pytest.raises(ConfigurationError, match=r"letter\.txt cannot be opened"):
        Warehouse.open(tmp_path / "letter.txt")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        Warehouse.open(tmp_path / "letter.txt" / "w.duckdb")


def test_a_warehouse_of_a_newer_program_is_left_alone(warehouse: Warehouse) -> None:
    warehouse.cursor().execute("INSERT INTO migration VALUES (999, '0999_later.sql')")
    warehouse.close()
    with pytest.raises(WarehouseError, match="newer program"):
        Warehouse.open(warehouse.path)


def test_bytes_that_older_versions_copied_into_quarantine_leave_the_file(tmp_path: Path) -> None:
    path, copied = tmp_path / "w.duckdb", b"Where is Rosa Marchetti?" * 500
    Warehouse.open(path).close()
    with duckdb.connect(str(path)) as older:
        older.execute("ALTER TABLE event_quarantined ADD COLUMN payload VARCHAR")
        older.execute("DELETE FROM migration WHERE name LIKE '%quarantine_without_bytes.sql'")
        older.execute(
            """INSERT INTO event_quarantined BY NAME SELECT 'feedback.quarantine' AS log_topic, 0 AS log_partition, 0 AS log_offset,
            1 AS schema_version, uuid() AS event_id, now() AS occurred_at, 'product' AS source, 'chat.replies' AS topic, 0 AS "partition",
            7 AS "offset", 'sink' AS reader, 'not JSON' AS reason, $payload AS payload, $hash AS payload_hash""",
            {"payload": copied.decode(), "hash": HASH},
        )
    assert b"Marchetti" in path.read_bytes()
    with Warehouse.open(path) as warehouse:
        (event,) = warehouse.events(EventQuarantined)
        assert isinstance(event, EventQuarantined)
        assert (event.topic, event.offset, event.payload_hash, event.schema_version) == ("chat.replies", 7, HASH, 2)
    assert b"Marchetti" not in path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["w.duckdb"]


def test_a_query_that_does_not_exist_is_named(warehouse: Warehouse) -> None:
    with pytest.raises(ConfigurationError, match="no query named 'nonsense'"):
        warehouse.query("nonsense")
    with pytest.raises(ConfigurationError, match="no query named"):
        warehouse.query("../migrations/0001_first")


def test_readers_of_other_threads_see_whole_batches_only(warehouse: Warehouse) -> None:
    import threading

    seen: list[tuple[int, int]] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            counts = {row["station"]: row["n"] for row in warehouse.query("counts").to_pylist()}
            seen.append((counts["pairs"], counts["ratings"] + counts["embedded"]))

    reader = threading.Thread(target=read)
    reader.start()
    log = Log()
    for number in range(8):
        apply(warehouse, log, pair(number), features(number))
    stop.set()
    reader.join(timeout=30)
    assert seen
    assert all(pairs == embedded for pairs, embedded in seen)


def test_every_kind_of_event_has_a_table_that_holds_its_columns(warehouse: Warehouse) -> None:
    events: dict[type[Event], Event] = {type(event): event for event in one_of_each()}
    assert set(events) == set(EVENTS.values())
    log = Log()
    apply(warehouse, log, pair(4), reply(4))
    row = warehouse.query("pairs_without_features", {"before": pair(400).occurred_at, "limit": 5}).to_pylist()[0]
    assert event_of(PairDrawn, row) == pair(4)
    assert row["log_topic"] == "feedback.pairs"
    assert id_of("pair", 4) == pair(4).pair_id
