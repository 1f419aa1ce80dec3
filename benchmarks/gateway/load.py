"""The load generators, which are the same for every side: an open loop at a fixed rate, and a closed loop over some connections."""

import asyncio
import gc
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from benchmarks.processes import http_client

PATIENCE = 60.0  # seconds
JSON = {"Content-Type": "application/json"}


def latencies_at(url: str, bodies: Callable[[int], bytes], rate: float, seconds: float) -> list[float]:
    """Seconds from each request's planned start to the end of its answer. A request starts on time whether or not others are answered."""

    async def run() -> list[float]:
        async with http_client(PATIENCE, raise_for_status=True, headers=JSON) as client:
            started = time.perf_counter() + 0.05

            async def one(i: int) -> float:
                planned = started + i / rate
                await asyncio.sleep(planned - time.perf_counter())
                async with client.post(url, data=bodies(i)) as answer:
                    await answer.read()
                return time.perf_counter() - planned

            return await asyncio.gather(*(one(i) for i in range(int(rate * seconds))))

    with _no_gc():
        return asyncio.run(run())


def rate_of(url: str, bodies: Callable[[int], bytes], connections: int, seconds: float, headers: Mapping[str, str] | None = None) -> float:
    """Answers a second with so many keep-alive connections, each of which sends its next request once it has the answer."""

    async def run() -> float:
        async with http_client(PATIENCE, raise_for_status=True, headers={**JSON, **(headers or {})}) as client:
            numbers, started = itertools.count(), time.perf_counter()
            answered = 0

            async def one() -> None:
                nonlocal answered
                while time.perf_counter() < started + seconds:
                    async with client.post(url, data=bodies(next(numbers))) as answer:
                        await answer.read()
                    answered += 1

            await asyncio.gather(*(one() for _ in range(connections)))
            return answered / (time.perf_counter() - started)

    with _no_gc():
        return asyncio.run(run())


@contextmanager
def _no_gc() -> Iterator[None]:
    """A collection in the generator would count as latency of the server."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
