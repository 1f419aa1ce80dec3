"""Candidates' groups are frozen for audits, and nothing else reads them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from storage.events import GroupsRecorded, OutcomeRecorded
from storage.snapshots.snapshot import Manifest, freeze, open_snapshot
from storage.strata import stratum_of
from storage.warehouse.verify import verify
from storage.warehouse.warehouse import Warehouse
from streams.bus.topics import OUTCOMES
from streams.stations.table import CONSUMERS
from tests.storage.facts import Log, apply, at, features, id_of, judgment, pair, reply
from trainers.data.snapshots import preferences_of
from trainers.runs.data import RunData

ROOT = Path(__file__).parents[2]
EVALUATION = next(n for n in range(10, 80) if stratum_of(f"conversation-{n}") == "evaluation")
READERS = {  # the only files that name the tables or events; the rest of the project cannot read groups
    "storage/events/__init__.py",
    "storage/events/outcomes.py",
    "storage/events/upcasters.py",
    "storage/snapshots/snapshot.py",
    "storage/warehouse/erasure.py",  # a candidate's rows go
    "storage/warehouse/migrations/0006_outcomes.sql",
    "storage/warehouse/queries/decisions_overdue.sql",  # ends them
    "storage/warehouse/queries/duel_judgments.sql",  # the duel stops for harm to a group
    "storage/warehouse/queries/groups_frozen.sql",
    "storage/warehouse/queries/groups_overdue.sql",  # ends them
    "storage/warehouse/queries/known_ids.sql",
    "storage/warehouse/queries/outcomes_between.sql",
    "storage/warehouse/queries/text_keys.sql",  # which keys there are
    "streams/bus/topics.py",
    "streams/client_events.py",
    "streams/intake.py",
    "streams/privacy/sealing.py",
    "trainers/audits/outcomes/tables.py",
}
NAMES = re.compile(r"groups_recorded|outcome_recorded|GroupsRecorded|OutcomeRecorded|groups_frozen|outcomes_between")


def groups(number: int, minute: float = 0, **values: str) -> GroupsRecorded:
    return GroupsRecorded(
        event_id=id_of("groups", number, minute), occurred_at=at(minute), source="product", candidate=f"c-{number}", groups=values
    )


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[tuple[Warehouse, Log]]:
    log = Log()
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, *(make(n) for n in range(4) for make in (pair, features, judgment)), *(reply(n) for n in range(80)))
        yield warehouse, log


def frozen(warehouse: Warehouse, folder: Path, **cuts: Any) -> Manifest:
    return freeze(warehouse, folder, run_id=id_of("run"), through_sequence=4, sources=("product",), **cuts)


def test_the_latest_groups_of_the_snapshots_conversations_are_frozen(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    outside = next(n for n in range(10, 80) if stratum_of(f"conversation-{n}") == "training")
    apply(warehouse, log, groups(1, 1, sex="male"), groups(2, 1, sex="female"), groups(outside, 1, sex="female"))
    apply(warehouse, log, groups(1, 2, sex="female", age="40 and over"), groups(2, 2), groups(EVALUATION, 3, sex="male"))
    frozen(warehouse, tmp_path / "s")
    assert RunData.read(tmp_path / "s").groups == {
        "conversation-1": {"sex": "female", "age": "40 and over"},
        f"conversation-{EVALUATION}": {"sex": "male"},
    }
    rows = open_snapshot(tmp_path / "s").groups.to_pylist()
    assert [(row["conversation_id"], row["attribute"]) for row in rows] == sorted(
        (row["conversation_id"], row["attribute"]) for row in rows
    )


def test_freezing_again_gives_the_same_groups_though_more_are_recorded(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    apply(warehouse, log, groups(1, 1, sex="male"))
    manifest = frozen(warehouse, tmp_path / "first")
    apply(warehouse, log, groups(1, 2, sex="female"), groups(3, 2, sex="female"))
    frozen(warehouse, tmp_path / "second", cut=manifest.replies_cut, groups_cut=manifest.groups_cut, ratings_cut=manifest.ratings_cut)
    contents = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("first", "second")]
    assert contents[0] == contents[1]
    assert manifest.groups_cut == {0: 0}


def test_a_snapshot_without_groups_stays_readable(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    frozen(loop[0], tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    del manifest["groups_cut"], manifest["files"]["groups.parquet"]
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest | {"recipe": 1}))
    (tmp_path / "s" / "groups.parquet").unlink()
    assert open_snapshot(tmp_path / "s").groups.num_rows == 0
    assert RunData.read(tmp_path / "s").groups == {}


def test_the_log_gives_the_same_rows_again_and_a_changed_one_is_found(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    common: dict[str, Any] = {"event_id": id_of("outcome"), "occurred_at": at(1), "source": "product", "decided_at": at(1)}
    outcome = OutcomeRecorded(**common, outcome_id="o", candidate="c-1", position="nurse", stage="screening", selected=True, score=0.5)
    apply(warehouse, log, groups(1, 1, sex="male"), outcome, outcome, groups(1, 1, sex="male"))
    assert [finding for finding in verify(warehouse, log.raw()).findings if finding.what not in ("preference", "state")] == []
    assert warehouse.events(GroupsRecorded, OutcomeRecorded) == [groups(1, 1, sex="male"), outcome]
    warehouse.cursor().execute("""UPDATE groups_recorded SET "groups" = '{"sex":"female"}'""")
    assert "groups" in " ".join(finding.words for finding in verify(warehouse, log.raw()).findings if finding.what == "altered")


def test_training_data_and_features_hold_no_groups(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    apply(warehouse, log, *(groups(n, 1, sex="a-group-of-people") for n in range(80)))
    frozen(warehouse, tmp_path / "s")
    for name in ("preferences.parquet", "prompts.parquet"):
        found = pq.read_table(tmp_path / "s" / name)
        assert not {"groups", "group", "attribute", "sex", "candidate"} & set(found.column_names)
        assert "a-group-of-people" not in str(found.to_pylist())
    rows = list(preferences_of(open_snapshot(tmp_path / "s")))
    assert rows
    assert "a-group-of-people" not in str(rows)
    export = warehouse.query("preferences_export", {"sources": ["product"], "through_sequence": 4})
    assert "a-group-of-people" not in str(export.to_pylist())


def test_no_station_but_the_sink_reads_the_topic() -> None:
    assert [row.name for row in CONSUMERS if OUTCOMES in row.topics] == ["sink"]


def test_no_other_file_of_the_product_names_the_tables_of_groups_and_outcomes() -> None:
    rooms = ("storage", "trainers", "streams", "access", "serving", "dashboard", "deploy", "feedbackloop")
    files = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".sql")]
    readers = {path.relative_to(ROOT).as_posix() for path in files if NAMES.search(path.read_text(encoding="utf-8"))}
    assert readers == READERS
