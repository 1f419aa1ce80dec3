"""``feedbackloop verify`` over a log of several partitions: it agrees with what a hub stored, and reports a deleted row."""

from contextlib import closing
from pathlib import Path

from deploy.cli.records import verified
from storage.settings import Settings
from storage.warehouse.warehouse import Warehouse
from streams.bus.open import open_bus
from streams.bus.topics import TOPICS
from tests.streams.bus_contract import everything
from tests.streams.test_replay import live


def test_verify_compares_kafka_with_the_warehouse_and_names_a_removed_row(tmp_path: Path, empty_kafka: str) -> None:
    settings = Settings.read(tmp_path, environ={}).with_values({"home": tmp_path, "bus": empty_kafka})
    with closing(open_bus(empty_kafka)) as bus:
        live(bus, tmp_path / "warehouse.duckdb", 12).close()
        entries = everything(bus, *TOPICS)
    assert len({entry.partition for entry in entries}) > len({entry.partition.topic for entry in entries})
    report = verified(settings)
    assert report.pop("not_covered")
    assert report == {"ok": True, "checked": len(entries), "unreadable": 1, "behind": 0, "unpublished": 0}
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        (gone,) = warehouse.cursor().execute("SELECT event_id FROM pair_drawn ORDER BY log_partition, log_offset").fetchall()[5]
        warehouse.cursor().execute("DELETE FROM pair_drawn WHERE event_id = ?", [gone])
    report = verified(settings)
    assert not report["ok"]
    (finding,) = report["missing"]
    assert str(gone) in finding
    assert finding.startswith("feedback.pairs/")
