"""What sealed texts cost: the sink's time for the same events, plain and sealed, and the time from a judgment to the reward.

The sink takes batches of 1,000 events of each log in turn, into two warehouses. Once 256 MB are written ahead, DuckDB makes a checkpoint,
which takes as long as some eighty batches and longer the larger the file is. Within ``BATCHES`` each warehouse makes its first, the sealed
one a little earlier, since tokens are longer than texts; ``encryption_checkpoint_ratio`` compares the two.

The 99th percentile of the time to the reward is that of ``benchmarks.latency`` at 100 judgments a second on the SQLite log, of
installations with and without sealing, in turn.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.gateway.rounds import over_rounds, ratio_of_means
from benchmarks.latency import as_logged, measured
from benchmarks.policy.paired import speed_ratio
from benchmarks.processes import on_log
from benchmarks.sink import BATCH
from benchmarks.traffic import JudgedPair, judged_pairs
from dashboard.settings import HubSettings
from storage.events import Event
from storage.texts.keys import FILE, SQLiteTextKeys
from storage.texts.texts import Texts
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Logged, Partition, records_of
from streams.bus.quarantine import decoded
from streams.gc_pause import gc_paused
from streams.privacy.sealing import Sealer

BATCHES = 112


def sink(quick: bool) -> Iterator[Figure]:
    """``encryption_sink_ratio`` and ``encryption_checkpoint_ratio``."""
    with tempfile.TemporaryDirectory() as name:
        plain, sealed = _sink(Path(name), 20 if quick else BATCHES)
    yield speed_ratio("encryption_sink_ratio", sealed, plain, ">=.9", f"sink's events/s, sealed / plain, batches of {BATCH}")
    if not quick:
        yield Figure(
            "encryption_checkpoint_ratio", max(sealed) / max(plain), None, None, "slowest batch, with a checkpoint: sealed / plain"
        )


def latency(quick: bool) -> Iterator[Figure]:
    """``encryption_latency_ratio``, and its two sides."""
    rounds, seconds = (2, 6.0) if quick else (8, 20.0)
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds):
        for seal in (True, False) if number % 2 else (False, True):
            found[seal].append(_p99(seal, seconds))
    unit = "99th percentile from a judgment to the reward, sealed / plain"
    yield ratio_of_means("encryption_latency_ratio", found[True], found[False], unit, "<=1.1")
    yield over_rounds("encryption_sealed_p99_ms", found[True], "ms, median round")
    yield over_rounds("encryption_plain_p99_ms", found[False], "ms, median round")


def _sink(home: Path, batches: int) -> tuple[list[float], list[float]]:
    """Seconds of each batch after the first tenth, plain and sealed."""
    keys = SQLiteTextKeys(home / FILE)
    pairs = list(itertools.islice(judged_pairs(np.random.default_rng(0)), batches * BATCH // 4))
    logs = [_log(pairs, Sealer(), Texts()), _log(pairs, Sealer(keys, b"secret"), Texts(keys))]
    taken: tuple[list[float], list[float]] = ([], [])
    options = {"memory_limit": "2GB", "threads": HubSettings().threads}
    with Warehouse.open(home / "plain.duckdb", **options) as plain, Warehouse.open(home / "sealed.duckdb", **options) as sealed:  # type: ignore[arg-type]
        sides = list(zip((plain, sealed), logs, taken, strict=True))
        for warehouse, _, _ in sides:
            warehouse.claim_epoch(1, published=0)
        for number in range(batches):
            for warehouse, log, seconds in sides if number % 2 else sides[::-1]:
                started = time.perf_counter()
                with gc_paused():  # as the hub's sink does
                    warehouse.apply(decoded(log[number], "sink").entries)
                seconds.append(time.perf_counter() - started)
    return taken[0][batches // 10 :], taken[1][batches // 10 :]


def _log(pairs: Sequence[JudgedPair], sealer: Sealer, texts: Texts) -> list[list[Logged]]:
    """The batches of a log that holds these pairs."""
    offsets: dict[str, int] = {}
    events: list[Event] = []
    for each in pairs:
        events += [*sealer.logged([each.reply]), *as_logged(each, sealer, texts), *sealer.logged([each.judgment])]
    entries = []
    for record in records_of(events):
        offsets[record.topic] = offsets.get(record.topic, -1) + 1
        entries.append(Logged(Partition(record.topic, 0), offsets[record.topic], record.key, record.value))
    return [entries[i : i + BATCH] for i in range(0, len(entries), BATCH)]


def _p99(seal: bool, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as name:
        settings = on_log(Path(name)).with_values(privacy={"seal": seal})
        found = measured("sqlite", settings, seconds, ("warm-up", "p99"))
    return next(figure.value for figure in found if figure.name == "sqlite_p99_ms")
