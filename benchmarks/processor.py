"""How much do a hub and its workers get done on Kafka? Real processes on a broker of their own, which shares the machine with them.

``python -m benchmarks.processor --json FILE``. *Judgments a second*: pairs, features and judgments lie on the log, the hub (held until
then) is let go, and the clock stops when a reward update that holds the last judgment can be read: the hub has read all three topics,
joined, numbered and published, one worker has learnt. *Embedding*: pairs lie on the log; features published a second by one worker, then
by two, each timed while all that run are busy, in turns.
"""

import argparse
import itertools
import signal
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, result, write
from benchmarks.processes import Process, count, kafka, publish, tails, wait_for, wait_until_it_embeds, worker
from benchmarks.traffic import drawn_pair, embedding_in_use, judged_pairs
from storage.events import RewardUpdated
from storage.settings import Settings
from streams.bus.open import bus_of
from streams.bus.protocol import Bus
from streams.bus.topics import FEATURES, PAIRS
from streams.stations.agents import APP
from streams.stations.head_checkpoints import last_update

LOOK = 0.1  # seconds: each look is read from the broker, and takes the machine some too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--only", choices=("judgments", "embed"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    judgments, rounds, seconds = (1_000, 1, 5.0) if arguments.quick else (10_000, 3, 20.0)
    figures = []
    if arguments.only != "embed":
        found = [judgments_per_second(judgments) for _ in range(rounds)]
        figures.append(Figure("judgments_per_second", statistics.median(found), min(found), max(found), "1/s", ">=1000"))
    if arguments.only != "judgments":
        one, two = embedded_per_second(rounds, seconds)
        ratios = [b / a for a, b in zip(one, two, strict=True)]
        figures += [
            Figure("embed_two_workers_speedup", statistics.median(ratios), min(ratios), max(ratios), "1", ">=1.5"),
            Figure("embed_one_worker", statistics.median(one), min(one), max(one), "pairs/s"),
            Figure("embed_two_workers", statistics.median(two), min(two), max(two), "pairs/s"),
        ]
    write(result("processor", figures, ("faust-streaming", "aiokafka", "kafka-python", "duckdb", "torch", "numpy")), arguments.json)


def judgments_per_second(judgments: int) -> float:
    """Of one backlog, from the moment the hub is let go."""
    with tempfile.TemporaryDirectory() as name, kafka(Path(name)) as settings, closing(bus_of(settings)) as bus:
        with Process("hub", settings) as hub:
            hub.send(signal.SIGSTOP)
            made = list(itertools.islice(judged_pairs(np.random.default_rng(0), embedding_hash=embedding_in_use()), judgments))
            for topic in ([each.pair for each in made], [each.features for each in made], [each.judgment for each in made]):
                publish(bus, topic)
            bus.mark(APP, tails(bus, PAIRS.name))  # the features are known: nothing is left to embed
            with worker(settings, 1) as one:
                wait_until_it_embeds(bus, one)
                started = time.monotonic()
                hub.send(signal.SIGCONT)
                wait_for(lambda: _learnt(bus, judgments), 300, f"{judgments} judgments learnt", every=LOOK)
                took = time.monotonic() - started
    sys.stderr.write(f"{judgments:,} judgments in {took:.1f} s: {judgments / took:,.0f}/s\n")
    return judgments / took


def embedded_per_second(rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Pairs embedded a second by one worker and by two, one after the other in each round."""
    one, two = [], []
    with tempfile.TemporaryDirectory() as name, kafka(Path(name)) as settings, closing(bus_of(settings)) as bus:
        with worker(settings, 1) as first:
            for _ in range(rounds):
                one.append(_embedding(bus, settings, [first], seconds))
                with worker(settings, 2) as second:
                    two.append(_embedding(bus, settings, [first, second], seconds))
                sys.stderr.write(f"one worker {one[-1]:.1f} pairs/s, two {two[-1]:.1f}\n")
    return one, two


def _embedding(bus: Bus, settings: Settings, workers: list[Process], seconds: float) -> float:
    """Features published a second between two moments at which all the workers are at it."""
    _refill(bus)
    before = [each.handled("embed") for each in workers]
    wait_for(lambda: all(each.handled("embed") > n for each, n in zip(workers, before, strict=True)) or None, 60, "every worker embeds")
    began, there = time.monotonic(), count(bus, FEATURES.name)
    handled = [each.handled("embed") for each in workers]
    time.sleep(seconds)
    rate = (count(bus, FEATURES.name) - there) / (time.monotonic() - began)
    shares = [each.handled("embed") - n for each, n in zip(workers, handled, strict=True)]
    assert all(shares), f"a worker had nothing to do: {shares}"
    sys.stderr.write(f"  {shares} pairs by worker\n")
    return rate


def _refill(bus: Bus, waiting: int = 8_000) -> None:
    """So many pairs wait to be embedded that none of the workers runs dry."""
    drawn, embedded = count(bus, PAIRS.name), count(bus, FEATURES.name)
    publish(bus, [drawn_pair(i) for i in range(drawn, drawn + waiting - (drawn - embedded))])


def _learnt(bus: Bus, judgments: int) -> RewardUpdated | None:
    update = last_update(bus)
    return update if update is not None and update.sequence >= judgments else None


if __name__ == "__main__":
    main()
