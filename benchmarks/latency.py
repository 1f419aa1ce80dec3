"""How long from a judgment's acceptance to the reward model that has learnt it? At 100 judgments a second through the real API.

``python -m benchmarks.latency --json FILE``: hub, processor and serving as processes of their own, on the SQLite log and on Kafka (a broker
of its own). Pairs and features are on the log before. A judgment starts at its ``occurred_at``, when serving takes the request and before
it is durable there, and ends when a reader of ``models.reward.updated``, as serving is one, holds the first update whose number covers it:
learnt, with its checkpoint on the disk and the update on the log. Updates come at most ten a second, so up to 100 ms of it is waiting
for the next. Only the training stratum counts; the other teaches nothing. *Idle* is the same at two judgments a second. *Busy* (reported)
is at 100 again with snapshots frozen one after the other and a dashboard page open in a browser.
"""

import argparse
import asyncio
import contextlib
import gc
import itertools
import shutil
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, result, write
from benchmarks.processes import Process, count, http_client, kafka, on_log, publish, tails, wait_for, wait_until_it_embeds
from benchmarks.traffic import JudgedPair, embedding_in_use, judged_pairs
from deploy.own_processes import client
from storage.events import Event, PairDrawn, PreferenceJoined, RewardUpdated, RunClaimed, TrainingFailed
from storage.settings import Settings
from storage.texts.keys import text_keys
from storage.texts.texts import Texts
from streams.bus.kafka_settings import is_kafka
from streams.bus.open import bus_of
from streams.bus.protocol import Bus
from streams.bus.quarantine import decoded
from streams.bus.topics import FROZEN, PAIRS, PREFERENCES, REWARD
from streams.privacy.sealing import Sealer, sealer_of
from streams.stations.agents import APP

RATE, IDLE = 100.0, 2.0  # judgments a second
REACH = {"sqlite": 150, "kafka": 250}
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
SETTLE = 30.0  # seconds that the last update may take

Moments = list[tuple[int, datetime]]  # a reward update's number, and when it was read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--only", choices=("sqlite", "kafka"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seconds = 6.0 if arguments.quick else 60.0
    figures = []
    if arguments.only != "kafka":
        with tempfile.TemporaryDirectory() as name:
            figures += measured("sqlite", on_log(Path(name)), seconds)
    if arguments.only != "sqlite":
        with tempfile.TemporaryDirectory() as name, kafka(Path(name)) as settings:
            figures += measured("kafka", settings, seconds)
    write(result("latency", figures, ("duckdb", "faust-streaming", "kafka-python", "numpy", "uvicorn")), arguments.json)


STAGES = ("warm-up", "idle", "p99", "busy_p99")


def measured(log: str, settings: Settings, seconds: float, stages: Collection[str] = STAGES) -> list[Figure]:
    """Warm-up, idle, at the rate, and with other work going on, one after the other on the same processes; or some of these."""
    pairs = judged_pairs(np.random.default_rng(0), embedding_hash=embedding_in_use())
    with contextlib.closing(bus_of(settings)) as bus, Process("hub", settings) as hub:
        lengths = dict(zip(STAGES, (max(5.0, seconds / 6), seconds / 3, seconds, seconds / 2), strict=True))
        rates = {name: IDLE if name == "idle" else RATE for name in STAGES if name in stages}
        ready = {name: list(itertools.islice(pairs, int(rate * lengths[name]))) for name, rate in rates.items()}
        keys = text_keys(settings)
        sealer, texts = sealer_of(settings, keys), Texts(keys)
        for some in ready.values():
            publish(bus, [event for each in some for event in as_logged(each, sealer, texts)])
        bus.mark(APP if is_kafka(settings.common.bus_url) else "embed", tails(bus, PAIRS.name))
        gc.freeze()  # else this process stops for .3 s now and then to walk through the pairs, and what it follows seems late
        figures: list[Figure] = []
        with Process("processor", settings) as processor, Process("serving", settings) as serving, Following(bus) as updates:
            if is_kafka(settings.common.bus_url):
                wait_until_it_embeds(bus, processor)
            wait_for(
                lambda: None if any(client().get(f"{hub.url}/v1/status", timeout=10).json()["lag"].values()) else True,
                120,
                "the hub is at the end",
            )
            for name, rate in rates.items():
                busy = _other_work(bus, hub) if name == "busy_p99" else contextlib.nullcontext()
                with busy:
                    give(serving.url, ready[name], rate)
                figures += _figures(f"{log}_{name}", _latencies(bus, ready[name], updates), REACH[log])
    return figures


def as_logged(judged: JudgedPair, sealer: Sealer, texts: Texts) -> list[Event]:
    """The pair and its features as an installation logs them: both sealed under one key, or neither."""
    [pair] = sealer.logged([judged.pair])
    assert isinstance(pair, PairDrawn)
    vectors = {"a": texts.sealed_like(judged.features.a, pair.a.text), "b": texts.sealed_like(judged.features.b, pair.b.text)}
    return [pair, judged.features.model_copy(update=vectors)]


def give(url: str, judged: Sequence[JudgedPair], rate: float) -> None:
    """Send the judgments at an even pace, whether or not the answers come."""
    with ThreadPoolExecutor(1) as own:  # this thread may have playwright's event loop
        own.submit(asyncio.run, _give(url, judged, rate)).result()


async def _give(url: str, judged: Sequence[JudgedPair], rate: float) -> None:
    async with http_client(30, base_url=url, raise_for_status=True) as client:
        started = time.monotonic()

        async def one(i: int, judgment: dict[str, object]) -> None:
            await asyncio.sleep(started + i / rate - time.monotonic())
            async with client.post("/v1/feedback", json=judgment):
                pass

        await asyncio.gather(*(one(i, _as_sent(each)) for i, each in enumerate(judged)))


class Following:
    """Reads the reward updates as they come, in a thread of its own, and notes when each was there."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._after = tails(bus, REWARD.name)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.moments: Moments = []

    def __enter__(self) -> "Following":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.is_set():
            entries = self._bus.read(self._after, limit=100, wait=0.5)
            moment = datetime.now(UTC)
            self._after.update({entry.partition: entry.offset for entry in entries})
            self.moments += [
                (event.sequence, moment) for _, event in decoded(entries, "latency").events if isinstance(event, RewardUpdated)
            ]


def _latencies(bus: Bus, judged: Sequence[JudgedPair], updates: Following) -> list[float]:
    """Milliseconds, one a judgment of the training stratum."""
    wanted = {each.pair.pair_id for each in judged}
    joined: list[PreferenceJoined] = []
    after = dict.fromkeys(tails(bus, PREFERENCES.name), -1)
    deadline = time.monotonic() + SETTLE
    while len(joined) < len(wanted):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(wanted) - len(joined)} of {len(wanted)} judgments were not joined within {SETTLE:.0f} s")
        entries = bus.read(after, limit=1000, wait=0.5)
        after.update({entry.partition: entry.offset for entry in entries})
        for _, event in decoded(entries, "latency").events:
            if isinstance(event, PreferenceJoined) and event.judgment.pair_id in wanted:
                joined.append(event)
    last = max(event.sequence for event in joined)
    wait_for(lambda: (updates.moments and updates.moments[-1][0] >= last) or None, SETTLE, "the last judgment is learnt")
    numbers = [number for number, _ in updates.moments]
    return [
        (updates.moments[bisect_left(numbers, event.sequence)][1] - event.judgment.occurred_at).total_seconds() * 1000
        for event in joined
        if event.stratum == "training"
    ]


def _figures(name: str, found: Sequence[float], reach: int) -> Iterator[Figure]:
    """The p99 of a stage; its interval is that of the stage's tenths, in order of time."""
    tenths = [float(np.percentile(part, 99)) for part in np.array_split(np.array(found), 10) if len(part)]
    p50, p99 = (float(np.percentile(found, share)) for share in (50, 99))
    sys.stderr.write(f"{name}: p50 {p50:.0f}, p99 {p99:.0f} ms over {len(found)} judgments\n")
    if name.endswith("_idle"):
        yield Figure(f"{name}_p50_ms", p50, min(found), max(found), "ms")
    elif name.endswith("_p99"):
        yield Figure(f"{name}_ms", p99, min(tenths), max(tenths), "ms", "" if "busy" in name else f"<={reach}")
        yield Figure(f"{name.removesuffix('_p99')}_p50_ms", p50, None, None, "ms")


def _as_sent(each: JudgedPair) -> dict[str, object]:
    said = each.judgment
    return {
        "type": "comparison", "pair_id": str(said.pair_id), "recruiter": said.recruiter, "choice": said.choice, "strength": said.strength,
        "shown_first": said.shown_first, "seconds": said.seconds,
    }  # fmt: skip


@contextlib.contextmanager
def _other_work(bus: Bus, hub: Process) -> Iterator[None]:
    """A page open, and one freeze after the other."""
    stop = threading.Event()
    freezing = threading.Thread(target=_freeze_again_and_again, args=(bus, hub, stop), daemon=True)
    with _open_page(hub.url):
        freezing.start()
        try:
            yield
        finally:
            stop.set()
            freezing.join()


def _freeze_again_and_again(bus: Bus, hub: Process, stop: threading.Event) -> None:
    """Ask for a run; as its trainer, give it up as soon as its data is frozen, so that the next one is frozen."""
    frozen = 0
    while not stop.wait(0.05):
        answer = client().post(f"{hub.url}/v1/freeze", json={"method": "dpo"}, timeout=30)
        if answer.status_code == 409:  # the hub has yet to read that the run before was given up
            continue
        run_id = answer.raise_for_status().json()["run_id"]
        while count(bus, FROZEN.name) == frozen and not stop.wait(0.1):
            pass
        frozen = count(bus, FROZEN.name)
        claim = {"source": "product", "run_id": run_id, "attempt": 1}
        given_up = TrainingFailed(**claim, stage="snapshot", reason="only its data was asked for", final=True)
        publish(bus, [RunClaimed(**claim, trainer="benchmark"), given_up])
    sys.stderr.write(f"{frozen} snapshots frozen\n")


@contextlib.contextmanager
def _open_page(url: str) -> Iterator[None]:
    """The overview in Debian's chromium; without one the page is left out, and that is said."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.stderr.write("no chromium here: measured without an open page\n")
        yield
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("#threshold", timeout=60_000)
        yield
        browser.close()


if __name__ == "__main__":
    main()
