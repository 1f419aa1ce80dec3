"""A promoted version takes over while chats are answered: does a request fail, and how much longer do those take that meet the swap?

Eight candidates ask one chat after the other, every other one streamed. Versions with real adapters of the shipped model are promoted by
the real records, one every few seconds. A request meets a swap if it overlaps the time from the promotion on the log until the first
answer of the new version has ended; every other one counts as without.
"""

import asyncio
import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from benchmarks.figures import Figure
from benchmarks.gates.promoted_world import PromotedWorld
from benchmarks.gateway.chats import PATIENCE, Chat, ask, body
from benchmarks.processes import Process, http_client, on_log, publish, wait_for
from benchmarks.rollback import adapters_of_the_shipped_model
from storage.home import open_home
from streams.bus.open import bus_of
from streams.bus.protocol import Bus
from trainers.models.references import base_hash

CHATS = 8  # at once
TOKENS = 32
SETTLE = 2.0  # seconds before the first swap


def figures(quick: bool) -> Iterator[Figure]:
    """The row ``swap``."""
    swaps, pause = (3, 4.0) if quick else (20, 8.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = on_log(folder)
        home = open_home(settings.common.home)
        adapters = {f"version-{number}": path for number, path in enumerate(adapters_of_the_shipped_model(folder / "adapters", swaps))}
        world = PromotedWorld(home, base_hash=base_hash("shipped"), adapters=adapters)
        trusted = []
        for number, key in enumerate(world.attestor.keys.published()):
            path = folder / f"trusted-{number}.pem"
            path.write_bytes(key.pem)
            trusted.append(str(path))
        settings = settings.with_values({"artifacts": str(home / "artifacts")}, attestation={"trusted": trusted})
        with contextlib.closing(bus_of(settings)) as bus, Process("serving", settings) as serving, Crowd(serving.url) as crowd:
            wait_for(lambda: len(crowd.chats) >= 4 * CHATS or None, PATIENCE, "chats are answered")
            begun = time.monotonic()
            time.sleep(SETTLE)
            windows = []
            for version in adapters:
                windows.append(_swapped(bus, world, version, crowd))
                time.sleep(pause)
    chats = [chat for chat in crowd.chats if chat.begun >= begun]
    met = [chat.ended - chat.begun for chat in chats if any(chat.begun < end and chat.ended > start for start, end in windows)]
    others = [chat.ended - chat.begun for chat in chats if not any(chat.begun < end and chat.ended > start for start, end in windows)]
    yield Figure("swap_failed_requests", len(crowd.failures), None, None, f"of {len(crowd.chats) + len(crowd.failures)}", "==0")
    during, without = (1000 * float(np.percentile(some, 99)) for some in (met, others))
    ratio, low, high = _interval(np.array(met), np.array(others))
    yield Figure("swap_p99_ratio", ratio, low, high, f"p99 of {len(met)} requests that met a swap / of {len(others)} others", "<=2")
    yield Figure("swap_met_p99_ms", during, None, None, "ms")
    yield Figure("swap_without_p99_ms", without, None, None, "ms")
    took = [end - start for start, end in windows]
    yield Figure("swap_seconds", float(np.median(took)), min(took), max(took), f"s until a new version's first answer, {swaps} swaps")


class Crowd:
    """Candidates that ask without a pause, in a thread of their own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.chats: list[Chat] = []
        self.failures: list[str] = []

    def __enter__(self) -> "Crowd":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def first_of(self, version: str) -> Chat | None:
        """The first answer of a version."""
        return next((chat for chat in list(self.chats) if chat.model == version), None)

    async def _run(self) -> None:
        numbers = itertools.count()
        async with http_client(PATIENCE) as client:
            await asyncio.gather(*(self._candidate(client, numbers, number % 2 == 0) for number in range(CHATS)))

    async def _candidate(self, client: aiohttp.ClientSession, numbers: Iterator[int], streamed: bool) -> None:
        while not self._stop.is_set():
            try:
                self.chats.append(await ask(client, self._url, body("champion", next(numbers), tokens=TOKENS, streamed=streamed)))
            except (aiohttp.ClientError, TimeoutError, RuntimeError) as error:
                self.failures.append(str(error))


def _swapped(bus: Bus, world: PromotedWorld, name: str, crowd: Crowd) -> tuple[float, float]:
    """Promote the next version; return when its promotion was on the log, and when its first answer had ended."""
    before = len(world.events)
    version = world.grow(name).version
    started = time.monotonic()
    publish(bus, world.events[before:])
    first = wait_for(lambda: crowd.first_of(version), PATIENCE, f"{version} answers", every=0.01)
    return started, first.ended


def _interval(met: "np.ndarray[Any, Any]", others: "np.ndarray[Any, Any]") -> tuple[float, float, float]:
    """The ratio of the p99s with the 95 % percentile interval of a bootstrap over requests."""
    rng = np.random.default_rng(0)
    drawn = [float(np.percentile(rng.choice(met, len(met)), 99) / np.percentile(rng.choice(others, len(others)), 99)) for _ in range(2_000)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(np.percentile(met, 99) / np.percentile(others, 99)), float(low), float(high)
