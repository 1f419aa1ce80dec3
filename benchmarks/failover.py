"""A worker is killed: how long until the other one does its work too?

``python -m benchmarks.failover --json FILE``: a hub and two workers on Kafka, six times a second a pair to embed and a judgment of a pair
whose features are on the log from before. ``kill -9`` hits the worker that learns, while hardly a pair waits. From there the clock runs
until a reward update covers a judgment that was given after the kill, and until features have come, of pairs drawn after the kill, on
every partition of pairs; the later of the two counts. Then a worker takes the dead one's place, and when what has piled up is embedded it
is the other's turn. The figure is the worst of the repetitions; low and high are the quickest and the slowest, the median is beside it.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import numpy as np

from benchmarks.figures import Figure, result, write
from benchmarks.processes import Process, kafka, publish, tails, wait_for, wait_until_it_embeds, worker
from benchmarks.traffic import JudgedPair, drawn_pair, embedding_in_use, judged_pairs
from storage.events import PairEmbedded, PreferenceJoined, RewardUpdated
from storage.settings import Settings
from streams.bus.lag import lag
from streams.bus.open import bus_of
from streams.bus.protocol import Bus
from streams.bus.quarantine import decoded
from streams.bus.topics import FEATURES, PAIRS, PREFERENCES, REWARD
from streams.stations.agents import APP

PACE = 1 / 6  # seconds between two pairs, and between two judgments; one worker alone keeps up with it on a slow machine too
GIVE_UP = 120.0  # seconds
KNOWN = 1_500  # pairs a repetition: for more judgments than are given in GIVE_UP
HARDLY_ANY = 5  # pairs that wait while all is well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one kill")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, kafka(Path(name)) as settings:
        found = seconds_to_resume(settings, 1 if arguments.quick else 5)
    worst = [max(one) for one in found]
    learner, embed = ([one[i] for one in found] for i in (0, 1))
    figures = [
        Figure("seconds_to_resume", max(worst), min(worst), max(worst), "s", "<=10"),
        Figure("seconds_to_resume_median", statistics.median(worst), min(worst), max(worst), "s"),
        Figure("learner_seconds", statistics.median(learner), min(learner), max(learner), "s"),
        Figure("embed_seconds", statistics.median(embed), min(embed), max(embed), "s"),
    ]
    write(result("failover", figures, ("faust-streaming", "aiokafka", "kafka-python")), arguments.json)


def seconds_to_resume(settings: Settings, kills: int) -> list[tuple[float, float]]:
    """For each kill: seconds until the learner, and until embedding went on."""
    found = []
    with closing(bus_of(settings)) as bus, ExitStack() as running:
        known = list(itertools.islice(judged_pairs(np.random.default_rng(0), embedding_hash=embedding_in_use()), KNOWN * kills))
        publish(bus, [event for each in known for event in (each.pair, each.features)])
        bus.mark(APP, tails(bus, PAIRS.name))
        running.enter_context(Process("hub", settings))
        workers = [running.enter_context(worker(settings, number)) for number in (1, 2)]
        with Traffic(bus, iter(known)) as traffic:
            for repetition in range(kills):
                for each in workers:
                    wait_until_it_embeds(bus, each)
                wait_for(lambda: lag(bus, APP, [PAIRS]) <= HARDLY_ANY or None, GIVE_UP, "hardly a pair waits")
                dying = wait_for(lambda: _learning(workers), GIVE_UP, "a worker learns")
                dying.kill()
                found.append(_resumed(bus, traffic))
                sys.stderr.write(f"learner after {found[-1][0]:.1f} s, embedding after {found[-1][1]:.1f} s\n")
                workers.remove(dying)
                workers.append(running.enter_context(worker(settings, 3 + repetition)))
    return found


def _learning(workers: list[Process]) -> Process | None:
    """The worker whose learner moves."""
    before = [each.handled("learner") for each in workers]
    time.sleep(1)
    return next((each for each, n in zip(workers, before, strict=True) if each.handled("learner") > n), None)


def _resumed(bus: Bus, traffic: "Traffic") -> tuple[float, float]:
    """Seconds from now until a judgment given from now on is learnt, and until pairs drawn from now on are embedded on every partition."""
    killed = time.monotonic()
    pairs, judged = traffic.begin()
    after = {**tails(bus, FEATURES.name), **tails(bus, PREFERENCES.name), **tails(bus, REWARD.name)}
    silent = {partition.number for partition in tails(bus, PAIRS.name)}
    needed: int | None = None
    learner = embed = None
    while learner is None or embed is None:
        if time.monotonic() - killed > GIVE_UP:
            raise TimeoutError(f"after {GIVE_UP:.0f} s: learner {learner}, embedding {embed}, silent partitions {sorted(silent)}")
        entries = bus.read(after, limit=500, wait=0.2)
        after.update({entry.partition: entry.offset for entry in entries})
        for entry, event in decoded(entries, "failover").events:
            if isinstance(event, PairEmbedded) and event.pair_id in pairs:
                silent.discard(entry.partition.number)  # the same key, as many partitions: that of the pair
            elif isinstance(event, PreferenceJoined) and event.judgment.pair_id in judged:
                needed = needed or event.sequence
            elif isinstance(event, RewardUpdated) and needed is not None and event.sequence >= needed:
                learner = learner or time.monotonic() - killed
        if not silent:
            embed = embed or time.monotonic() - killed
    return learner, embed


@dataclass
class Traffic:
    """Gives pairs to embed and judgments to learn at an even pace, in a thread of its own; remembers what it gave since the last kill."""

    bus: Bus
    known: Iterator[JudgedPair]
    drawn: set[UUID] = field(default_factory=set)
    judged: set[UUID] = field(default_factory=set)

    def __enter__(self) -> "Traffic":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def begin(self) -> tuple[set[UUID], set[UUID]]:
        """The pairs, and those judged, from now on; the sets grow."""
        self.drawn, self.judged = set(), set()
        return self.drawn, self.judged

    def _go_on(self) -> None:
        for i in itertools.count():
            if self._stop.wait(PACE):
                return
            drawn, judged = self.drawn, self.judged  # of before the kill where it falls in between
            pair, given = drawn_pair(1_000_000 + i), next(self.known)
            drawn.add(pair.pair_id)
            judged.add(given.pair.pair_id)
            publish(self.bus, [pair, given.judgment])


if __name__ == "__main__":
    main()
