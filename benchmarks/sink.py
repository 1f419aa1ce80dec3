"""How fast does the hub take the log in, against DuckDB's own insert of the same rows?

``python -m benchmarks.sink --json FILE``: bytes of the log are decoded, validated, told from repeats, joined, numbered and stored with
their offsets, in batches of 1,000; the peer inserts the very same rows, as Arrow tables made beforehand, in as many transactions. Both are
timed batch by batch in turn, so that a machine that slows down slows both. Then again on a warehouse that holds 5 million rows already.
"""

import argparse
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.figures import Figure, result, write
from benchmarks.filled_warehouse import fill
from benchmarks.traffic import judged_pairs
from dashboard.settings import HubSettings
from storage.warehouse.database import connect
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Logged, Partition, records_of
from streams.bus.quarantine import decoded
from streams.gc_pause import gc_paused

BATCH = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    batches, held = (10, 500_000) if arguments.quick else (arguments.batches, 5_000_000)
    empty = _compare(batches, 0)
    full = _compare(batches, held)
    figures = [
        Figure("ratio_to_raw", *_ratio(*empty), "1", ">=0.5"),
        Figure("ratio_at_5m_rows" if held == 5_000_000 else f"ratio_at_{held}_rows", *_ratio(*full), "1", ">=0.45"),
        Figure("sink_events_per_second", BATCH / statistics.median(empty[0]), None, None, "1/s"),
        Figure("raw_events_per_second", BATCH / statistics.median(empty[1]), None, None, "1/s"),
    ]
    write(result("sink", figures, ("duckdb", "pyarrow", "pydantic", "orjson")), arguments.json)


class Recording(Warehouse):
    """A warehouse that keeps the Arrow tables that it inserts, batch by batch."""

    inserted: list[list[tuple[str, pa.Table]]]

    def _insert(self, table: str, rows: pa.Table) -> None:
        super()._insert(table, rows)
        self.inserted[-1].append((table, rows))


def _compare(batches: int, held: int) -> tuple[list[float], list[float]]:
    """Seconds of each batch: the sink's work, and the raw insert."""
    log = list(itertools.islice(_batches(), batches))
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder / "full.duckdb", held)
        for copy in ("recorded", "ours", "raw"):
            shutil.copy(folder / "full.duckdb", folder / f"{copy}.duckdb")
        recorded = _recorded(folder / "recorded.duckdb", log)
        raw = connect(folder / "raw.duckdb", memory_limit="2GB", threads=HubSettings().threads, read_only=False)
        with Warehouse.open(folder / "ours.duckdb", memory_limit="2GB", threads=HubSettings().threads) as warehouse:
            warehouse.claim_epoch(1, published=0)
            for entries, tables in zip(log, recorded, strict=True):
                started = time.perf_counter()
                with gc_paused():  # as the hub's sink does
                    _apply(warehouse, entries)
                between = time.perf_counter()
                raw.begin()
                for table, rows in tables:
                    raw.register("incoming", rows)
                    raw.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
                    raw.unregister("incoming")
                raw.commit()
                ours.append(between - started)
                theirs.append(time.perf_counter() - between)
        raw.close()
    sys.stderr.write(
        f"{held:,} rows there: sink {BATCH / statistics.median(ours):,.0f}/s, raw {BATCH / statistics.median(theirs):,.0f}/s\n"
    )
    return ours, theirs


def _recorded(path: Path, log: Sequence[Sequence[Logged]]) -> list[list[tuple[str, pa.Table]]]:
    with Recording.open(path, memory_limit="2GB", threads=HubSettings().threads) as warehouse:
        assert isinstance(warehouse, Recording)
        warehouse.inserted = []
        warehouse.claim_epoch(1, published=0)
        for entries in log:
            warehouse.inserted.append([])
            _apply(warehouse, entries)
        return warehouse.inserted


def _apply(warehouse: Warehouse, entries: Sequence[Logged]) -> None:
    warehouse.apply(decoded(entries, "sink").entries)


def _batches() -> Iterator[list[Logged]]:
    """What the log holds of a busy loop: for each pair a reply, the pair, its features and a judgment, as the hub reads it."""
    pairs = judged_pairs(np.random.default_rng(0))
    offsets: dict[str, int] = {}
    while True:
        records = records_of(event for judged in itertools.islice(pairs, BATCH // 4) for event in judged.events)
        entries = []
        for record in records:
            offset = offsets.get(record.topic, -1) + 1
            offsets[record.topic] = offset
            entries.append(Logged(Partition(record.topic, 0), offset, record.key, record.value))
        yield entries


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """The peer's time over ours, with the quartiles of batches; the first tenth warms up."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)][len(ours) // 10 :]
    low, _, high = statistics.quantiles(ratios, n=4)
    return sum(theirs) / sum(ours), low, high


if __name__ == "__main__":
    main()
