"""The benchmarks' warehouse with a past fits the tables as they are."""

from pathlib import Path

from benchmarks.filled_warehouse import fill
from storage.warehouse.warehouse import Warehouse


def test_a_filled_warehouse_has_a_judged_and_numbered_pair_for_every_four_rows(tmp_path: Path) -> None:
    fill(tmp_path / "full.duckdb", 40)
    with Warehouse.open(tmp_path / "full.duckdb") as warehouse:
        counts = {row["station"]: row["n"] for row in warehouse.query("counts").to_pylist()}
        assert warehouse.last_sequence == 10
    assert {counts[name] for name in ("pairs", "judgments", "preferences")} == {10}
