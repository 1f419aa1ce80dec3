"""A champion is rolled back: how long until every serving process replies as the one before it?

``python -m benchmarks.rollback --json FILE``: a hub and three serving processes on Kafka, with a client at each that asks for a reply five
times a second. Versions were promoted one after the other, with real records and real adapters of the shipped model. Then they are
rolled back through the hub's API, one every few seconds. The clock runs from the answer until ``/v1/models`` of a process names the
champion before; the figure is the slowest process of all rollbacks. No chat request may fail meanwhile.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.figures import Figure, result, write
from benchmarks.gates.promoted_world import PromotedWorld
from benchmarks.processes import Process, kafka, publish, wait_for
from storage.home import open_home
from storage.settings import Settings
from streams.bus.open import bus_of
from trainers.models.references import base_hash

PROCESSES = 3
PAUSE = 0.2  # seconds between a reply and the next request of a client
SETTLE = 5.0  # seconds before the next rollback
LOOK = 0.05  # seconds between two looks at a process; the figure may be too high by this
PATIENCE = 60.0
ASKED = {"model": "champion", "messages": [{"role": "user", "content": "When is my interview?"}], "temperature": 0, "max_tokens": 24}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one rollback")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name, kafka(Path(name)) as settings:
        seconds, replies, failed = roll_back(settings, Path(name), 1 if arguments.quick else 6)
    flat = [each for one in seconds for each in one]
    figures = [
        Figure(
            "rollback_seconds", max(flat), min(flat), max(flat), f"s, slowest of {PROCESSES} processes, {len(seconds)} rollbacks", "<=2"
        ),
        Figure("rollback_seconds_median", statistics.median(flat), min(flat), max(flat), "s"),
        Figure("rollback_failed_requests", failed, None, None, f"of {replies + failed}", "<=0"),
        Figure("load_before", load, None, None, "runnable processes of others, 1 minute"),
    ]
    write(result("rollback", figures, ("kafka-python", "torch", "transformers")), arguments.json)


def roll_back(settings: Settings, folder: Path, rollbacks: int) -> tuple[list[list[float]], int, int]:
    """For each rollback the seconds of each process; how many requests were replied to, and how many failed."""
    settings, versions = promoted(settings, folder, rollbacks)
    found: list[list[float]] = []
    with ExitStack() as running:
        hub = running.enter_context(Process("hub", settings))
        serving = [running.enter_context(_serving(settings, number)) for number in range(PROCESSES)]
        wait_for(lambda: all(_named(each) == versions[-1] for each in serving) or None, PATIENCE, f"all serve {versions[-1]}")
        clients = [running.enter_context(Client(each.url)) for each in serving]
        pool = running.enter_context(ThreadPoolExecutor(PROCESSES))
        for champion, before in zip(reversed(versions[1:]), reversed(versions[:-1]), strict=True):
            _replies_come_from(champion, clients)
            time.sleep(SETTLE)
            answer = httpx.post(
                f"{hub.url}/v1/rollback", json={"reviewer": "Rosa", "reason": "complaints"}, timeout=PATIENCE, trust_env=False
            )
            decided = time.monotonic()
            answer.raise_for_status()
            found.append([at - decided for at in pool.map(_switched, serving, [before] * PROCESSES)])
            sys.stderr.write(f"{champion} to {before}: {', '.join(f'{each:.2f}' for each in found[-1])} s\n")
        _replies_come_from(versions[0], clients)
    return found, sum(each.replies for each in clients), sum(len(each.failures) for each in clients)


def promoted(settings: Settings, folder: Path, count: int) -> tuple[Settings, list[str]]:
    """Publish the lives of ``count`` promoted versions; returns settings with which they are trusted, and the champions in order."""
    home = open_home(settings.common.home)
    adapters = {f"version-{number}": path for number, path in enumerate(adapters_of_the_shipped_model(folder / "adapters", count))}
    world = PromotedWorld(home, base_hash=base_hash("shipped"), adapters=adapters)
    champions = ["base", *(world.grow(name).version for name in adapters)]
    settings = settings.with_values({"artifacts": str(home / "artifacts")})
    with closing(bus_of(settings)) as bus:
        publish(bus, world.events)
    trusted = []
    for number, key in enumerate(world.attestor.keys.published()):
        path = folder / f"trusted-{number}.pem"
        path.write_bytes(key.pem)
        trusted.append(str(path))
    return settings.with_values(attestation={"trusted": trusted}), champions


def adapters_of_the_shipped_model(folder: Path, count: int) -> list[Path]:
    """Folders of a LoRA adapter with random weights; they differ in a note only."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from trainers.models.references import resolve_model

    config = LoraConfig(r=8, lora_alpha=1, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(resolve_model("shipped")), config)
    folders = [folder / str(number) for number in range(count)]
    model.save_pretrained(str(folders[0]))
    for each in folders[1:]:
        shutil.copytree(folders[0], each)
        (each / "NOTE").write_text(each.name)
    return folders


@dataclass
class Client:
    """Asks a serving process for replies, one after the other, in a thread of its own."""

    url: str
    replies: int = 0
    last: str = ""
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> "Client":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _go_on(self) -> None:
        with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
            while not self._stop.wait(PAUSE):
                try:
                    answer = client.post(f"{self.url}/v1/chat/completions", json=ASKED)
                    answer.raise_for_status()
                    self.last = answer.json()["model"]
                    self.replies += 1
                except httpx.HTTPError as error:
                    self.failures.append(str(error))


def _replies_come_from(version: str, clients: Sequence[Client]) -> None:
    wait_for(lambda: all(each.last == version for each in clients) or None, PATIENCE, f"all replies come from {version}")


def _serving(settings: Settings, number: int) -> Process:
    """A serving process with a home of its own, as each replica on Kafka has."""
    return Process("serving", settings.with_values({"home": settings.common.home / f"serving-{number}"}))


def _named(process: Process) -> str:
    models: Sequence[dict[str, str]] = httpx.get(f"{process.url}/v1/models", timeout=PATIENCE, trust_env=False).json()["data"]
    return models[0]["id"]


def _switched(process: Process, version: str) -> float:
    """When the process named this version."""
    wait_for(lambda: _named(process) == version or None, PATIENCE, f"{process.url} serves {version}", LOOK)
    return time.monotonic()


if __name__ == "__main__":
    main()
