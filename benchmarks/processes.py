"""Real processes of the loop for a benchmark: started with settings of their own, asked what they have done, stopped or killed.

Unlike the supervisor nothing is started again by itself: what a benchmark kills stays dead until the benchmark says otherwise.
"""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiohttp

from access.changes import AccessChanges
from benchmarks.environments import CACHE
from benchmarks.traffic import drawn_pair
from deploy.broker import Broker
from deploy.demo import environment_of
from deploy.own_processes import client, is_ready
from deploy.supervisor import COMMAND, SURROUNDINGS
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.events import Event
from storage.settings import Settings
from streams.addresses import url_of
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.kafka_topics import create_topics
from streams.bus.open import bus_of
from streams.bus.protocol import Bus, Partition, records_of

READY_WITHIN = 120.0  # seconds
STOP_WITHIN = 10.0
AT_ONCE = 2_000

Found = TypeVar("Found")


class Process:
    """``feedbackloop NAME`` on ``settings``; a context manager that returns when the process is ready."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings.with_values(**{name: {"port": free_port()}})
        self.url = url_of(self.settings, name)
        self.log = settings.common.home / f"{name}.log"

    def __enter__(self) -> "Process":
        self.settings.common.home.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ) | environment_of(self.settings) | SURROUNDINGS
        environment.pop(CACHE, None)  # of the benchmarks alone: a variable with our prefix that is no setting is refused
        with self.log.open("ab") as output:
            command = [*COMMAND, self.name]
            self._process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            wait_for(lambda: self._is_ready() or None, READY_WITHIN, f"{self.name} is not ready; see {self.log}")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def handled(self, station: str) -> int:
        """How many events had their effect at the station, in this process (its ``/metrics``)."""
        text = client().get(f"{self.url}/metrics", timeout=10).text
        found = re.search(rf'^feedbackloop_latency_seconds_count{{station="{station}"}} (\S+)', text, re.MULTILINE)
        return int(float(found[1])) if found else 0

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}; see {self.log}")
        return is_ready(self.url)


@contextmanager
def kafka(folder: Path) -> Iterator[Settings]:
    """A broker with its data in ``folder`` and every topic; the settings of processes on it, with no retraining in between."""
    with Broker(folder / "kafka") as broker:
        create_topics(broker.servers, KafkaSettings())
        yield on_log(folder, broker.url)


def on_log(folder: Path, bus: str = "") -> Settings:
    """The defaults with their home in ``folder``, on that log; no threshold asks for training while something else is measured."""
    common = {"home": folder / "home", "bus": bus, "artifacts": str(folder / "artifacts")}
    return Settings.read(folder, {}).with_values(common, retraining={"every": 1_000_000})


def api_key(settings: Settings, *scopes: str) -> str:
    """A new key on the log of these settings."""
    with closing(bus_of(settings)) as bus:
        changes = AccessChanges(bus, Keys(settings.common.home, settings.section("attestation", AttestationSettings)))
        return changes.issue("benchmark", scopes)[1]


def worker(settings: Settings, number: int) -> Process:
    """A processor with a home of its own, as each worker on Kafka has."""
    return Process("processor", settings.with_values({"home": settings.common.home / f"worker-{number}"}))


def tails(bus: Bus, topic: str) -> dict[Partition, int]:
    """The last offset of each partition."""
    return {partition: following - 1 for partition, (_, following) in bus.bounds([topic]).items()}


def count(bus: Bus, topic: str) -> int:
    """How many entries there are."""
    return sum(offset + 1 for offset in tails(bus, topic).values())


def publish(bus: Bus, events: Sequence[Event]) -> None:
    for i in range(0, len(events), AT_ONCE):
        bus.publish(records_of(events[i : i + AT_ONCE]), timeout=60)


def wait_until_it_embeds(bus: Bus, process: Process) -> None:
    """Return when the worker has its partitions: it has embedded one more pair."""
    before = process.handled("embed")
    publish(bus, [drawn_pair(-1)])
    wait_for(lambda: process.handled("embed") > before or None, 60, "the worker embeds")


def wait_for(ask: Callable[[], Found | None], seconds: float, what: str, every: float = 0.05) -> Found:
    """The first answer that is not None."""
    deadline = time.monotonic() + seconds
    while (found := ask()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
    return found


def http_client(patience: float, **more: Any) -> aiohttp.ClientSession:
    """For as many requests at a time as are made. httpx looks through all its connections at each request: for a crowd that was a fifth of
    a core, which what is measured on the same machine would lack."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)  # before the server, which closes a quiet connection after 5 s
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(patience), connector=connector, **more)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
