"""How long do the dashboard's questions to the warehouse take while the sink works as fast as it can?

``python -m benchmarks.queries --json FILE``: a warehouse that holds 1 million judgments, each with its pair, features and number, and a
log with a backlog that the real sink takes in, in this process as in the hub, until it has read back what it numbered. Beside it the hub's
own objects are asked as pages and API ask them: a reading after commits (counts, what is to rate and waits, curve, runs, versions), the
rating queue, a run by hand. Meanwhile a run is at work. Each question is timed where the warehouse answers it: on the idle machine, each
after a small commit, and beside the sink. In the backlog one pair in ten is not judged, one in 50 is judged again, one in 200 has no
features yet.
"""

import argparse
import itertools
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from access.caller import OPEN
from benchmarks.figures import Figure, result, write
from benchmarks.filled_warehouse import fill
from benchmarks.processes import publish, tails
from benchmarks.traffic import DIMENSION, judged_pairs
from dashboard.actions.manual_runs import ManualRuns
from dashboard.actions.rating_queue import RatingQueue
from dashboard.actions.reviews import Conflict
from dashboard.settings import HubSettings
from dashboard.status.readings import Readings, Sources
from storage.artifacts import Artifacts
from storage.events import Event, JudgmentGiven, RewardUpdated, RunClaimed, TrainingProgress, TrainingRequested, pack
from storage.warehouse.warehouse import Warehouse
from streams.bus.open import open_bus
from streams.bus.protocol import Bus, records_of
from streams.bus.resume import PARTITION
from streams.evaluations import RunArtifacts
from streams.stations.sink import PUBLISHER, Sink
from streams.stations.trigger import RunPlan, by_hand

RECRUITERS = 5  # with the rating page open
LIMIT = 12  # pairs that the rating page asks for at a time
PAUSE = 0.05  # seconds between two rounds of questions; the hub itself takes a reading at most ten times a second
PAST = 2_000  # reward updates and steps of training that there are already
RUNS = 5  # the steps are theirs; the newest goes on
PLAN = RunPlan("dpo", ("product",), None)
Times = dict[str, list[float]]


class Timed(Warehouse):
    """A warehouse that records how long each question of the main thread took, in milliseconds; the sink asks in another."""

    took: Times

    def query(self, name: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        with self._noted(name):
            return super().query(name, parameters)

    def events(self, *kinds: type[Event]) -> list[Event]:
        with self._noted("events"):
            return super().events(*kinds)

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                self.took[name].append((time.perf_counter() - started) * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    judgments, backlog = (100_000, 5_000) if arguments.quick else (1_000_000, 50_000)
    with tempfile.TemporaryDirectory() as name:
        idle, busy, rate = measured(Path(name), judgments, backlog)
    p99 = {query: float(np.percentile(found, 99)) for query, found in busy.items()}
    slowest = max(p99, key=lambda query: p99[query])
    figures = [
        Figure("slowest_query_p99_ms", p99[slowest], None, None, f"ms ({slowest})", "<=100"),
        Figure("slowest_query_p99_ms_idle", max(float(np.percentile(found, 99)) for found in idle.values()), None, None, "ms"),
        Figure("sink_events_per_second", rate, None, None, "1/s"),
    ]
    for query in sorted(p99, key=lambda query: -p99[query]):
        figures += [
            Figure(f"{query}_p{share}_ms", float(np.percentile(busy[query], share)), None, None, _beside(idle.get(query), share))
            for share in (50, 99)
        ]
    write(result("queries", figures, ("duckdb", "pyarrow", "numpy"), judgments=judgments, asked=len(busy["rating_queue"])), arguments.json)


def measured(folder: Path, judgments: int, backlog: int) -> tuple[Times, Times, float]:
    """Milliseconds of each query on the idle machine and beside the sink, and how many events a second the sink took in meanwhile."""
    fill(folder / "warehouse.duckdb", 4 * judgments)
    own = HubSettings()
    with (
        closing(open_bus(f"sqlite:///{folder / 'bus.sqlite'}")) as bus,
        Timed.open(folder / "warehouse.duckdb", memory_limit=own.memory_limit, threads=own.threads) as warehouse,
    ):
        assert isinstance(warehouse, Timed)
        warehouse.took = defaultdict(list)
        _begin_log(bus, warehouse)
        runs = [by_hand(PLAN, k, k) for k in range(1, RUNS + 1)]
        publish(bus, list(_past(judgments, runs)))
        sink = Sink(bus, warehouse, "hub-benchmark")
        readings = Readings(Sources(warehouse, dict, list, 200, RunArtifacts(Artifacts(str(folder / "artifacts")))))
        sink.listeners.append(readings.note)
        sink.start()
        queue, asked_by_hand = RatingQueue(warehouse, readings.outstanding), ManualRuns(bus, warehouse, lambda method: PLAN)
        rounds = itertools.count(1)

        def ask() -> None:
            n = next(rounds)
            readings.take(n)
            queue.take(f"recruiter-{n % RECRUITERS}", LIMIT)
            if n % 10 == 0:
                publish(bus, [_step(runs[-1], PAST + n)])  # has the hub look at the runs again
            if n % 50 == 0:
                with suppress(Conflict):  # one waits already, as the warehouse has just answered
                    asked_by_hand.ask(OPEN, "dpo")

        traffic = _traffic(judgments)
        _take_in(bus, sink, itertools.islice(traffic, 2_000))
        warehouse.took = defaultdict(list)
        for _ in range(max(20, backlog // 500)):
            _take_in(bus, sink, itertools.islice(traffic, 20))
            ask()
        idle, warehouse.took = warehouse.took, defaultdict(list)
        waiting = [event for each in itertools.islice(traffic, backlog) for event in each]
        publish(bus, waiting)
        sys.stderr.write(f"{len(waiting):,} events wait on the log\n")
        done = threading.Event()
        stored: list[int] = []
        sink.listeners.append(lambda applied: stored.append(len(applied.stored)))
        upto = tails(bus, PARTITION.topic)[PARTITION] + int(0.85 * backlog)
        working = threading.Thread(target=_work_off, args=(sink, warehouse, upto, done), name="sink")
        began = time.monotonic()
        working.start()
        while not done.is_set():
            ask()
            time.sleep(PAUSE)
        took = time.monotonic() - began
        working.join()
        return idle, warehouse.took, sum(stored) / took


def _take_in(bus: Bus, sink: Sink, traffic: Iterator[list[Event]]) -> None:
    events = [event for each in traffic for event in each]
    publish(bus, events)
    for _ in range(3 + len(events) // 500):  # the events, and what was numbered of them
        sink.step(0)


def _work_off(sink: Sink, warehouse: Warehouse, upto: int, done: threading.Event) -> None:
    """Step until what it numbered is read back too; the rest of the backlog keeps the sink at full speed to the last question."""
    try:
        while warehouse.offsets()[PARTITION.topic, PARTITION.number] < upto:
            sink.step(0)
    finally:
        done.set()


def _begin_log(bus: Bus, warehouse: Warehouse) -> None:
    """The log's end as the publisher left it: the last number that the warehouse gave."""
    last = warehouse.preferences_after(warehouse.last_sequence - 1, 1)
    (position,) = bus.publish(records_of(last), timeout=30)
    bus.mark(PUBLISHER, {position.partition: position.offset})


def _past(judgments: int, runs: Sequence[TrainingRequested]) -> Iterator[Event]:
    """Reward updates, and a few runs with their steps."""
    for i in range(1, PAST + 1):
        yield _update(i * judgments // PAST)
    for run in runs:
        yield run
        yield RunClaimed(source="product", run_id=run.run_id, attempt=1, trainer="trainer")
        for step in range(PAST // RUNS):
            yield _step(run, step)


def _step(run: TrainingRequested, step: int) -> TrainingProgress:
    metrics = {"loss": 1 / (step + 1)}
    return TrainingProgress(source="product", run_id=run.run_id, attempt=1, stage="dpo", step=step, steps=2 * PAST, metrics=metrics)


def _traffic(judgments: int) -> Iterator[list[Event]]:
    """For each pair what comes of it on the log."""
    for i, each in enumerate(judged_pairs(np.random.default_rng(0), first=judgments)):
        events: list[Event] = [each.reply, each.pair]
        if i % 200 != 7:
            events.append(each.features)
        if i % 10 != 3:
            events.append(each.judgment)
        if i % 50 == 0:
            said = each.judgment
            events.append(JudgmentGiven(source="product", pair_id=said.pair_id, recruiter=said.recruiter, choice="tie"))
        if i % 100 == 0:
            events.append(_update(judgments + i + 1))
        yield events


def _update(sequence: int) -> RewardUpdated:
    return RewardUpdated(
        source="product", head_id="f" * 64, sequence=sequence, judgments_before=max(0, sequence - 1), judgments_seen=sequence,
        mean=pack(np.zeros(DIMENSION + 1)), prequential_accuracy=0.7, prequential_log_loss=0.6, prequential_n=500, checkpoint="c" * 64,
    )  # fmt: skip


def _beside(idle: list[float] | None, share: int) -> str:
    return f"ms (idle {np.percentile(idle, share):.1f})" if idle else "ms"


if __name__ == "__main__":
    main()
