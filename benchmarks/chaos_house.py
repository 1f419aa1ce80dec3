"""The service as chaos finds it: every process under a supervisor, a broker beside it on Kafka, and what can be done to them."""

import math
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from deploy.broker import Broker
from deploy.demo import environment_of
from deploy.own_processes import client, is_ready
from deploy.supervisor import COMMAND, SURROUNDINGS, Supervisor
from storage.errors import Overloaded
from storage.settings import Settings
from streams import runs
from streams.addresses import url_of
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.kafka_topics import create_topics
from streams.bus.open import bus_of
from streams.bus.protocol import Bus, Partition
from streams.bus.quarantine import decoded
from streams.bus.topics import FROZEN, PROGRESS, REQUESTED, VERSIONS, Topic
from streams.runs import Runs
from trainers.reward.online.checkpoint import load

PROCESSES = ("hub", "serving", "processor", "trainer")
BROKER_AWAY = 2.0  # seconds between a broker's end and its next start
TAKES_OVER = 180.0  # seconds that a second hub has to claim the numbering: it reads the whole log, on a machine that is fully loaded
RESTARTED_WITHIN = 60.0
REIGN = 3.0  # seconds that it numbers
RUN_TOPICS: tuple[Topic, ...] = (REQUESTED, FROZEN, PROGRESS, VERSIONS)


@dataclass(frozen=True)
class Target:
    """Something that can be hit."""

    name: str
    kind: str
    ready: Callable[[], bool]
    has_work: Callable[[], bool]
    hit: Callable[[signal.Signals, float], None]  # returns when the blow is over, not when it is recovered from


class House:
    """The running service; use it as a context manager.

    Attributes
    ----------
    targets : what can be hit
    serving, hub : where they listen
    runs : what the log says of training runs
    """

    def __init__(self, folder: Path, bus: Literal["sqlite", "kafka"], *, every: int, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._broker = Broker(folder / "broker") if bus == "kafka" else None
        home = folder / "home"
        self.settings = _settings(home, every).with_values(
            {"bus": self._broker.url if self._broker else f"sqlite:///{home / 'bus.sqlite'}", "pseudonym_key": secrets.token_hex(32)}
        )
        self.workers = [self.settings]
        if self._broker is not None:  # on Kafka a second worker, with a home of its own
            second = {"home": folder / "second", "artifacts": self.settings.common.artifacts_url}
            self.workers.append(self.settings.with_values(second, processor={"port": free_port()}))
        self.serving, self.hub = url_of(self.settings, "serving"), url_of(self.settings, "hub")
        self.targets: list[Target] = []
        self._supervisors: list[Supervisor] = []
        self._commands: list[subprocess.Popen[bytes]] = []
        self._kept: dict[Path, Path] = {}
        self.runs = RunsSeen(self.open_bus)

    def __enter__(self) -> "House":
        try:
            self._start()
        except BaseException:
            self.stop_processes()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop_processes()
        if self._broker is not None:
            self._broker.stop()

    def stop_processes(self) -> None:
        """Stop all but the broker, cleanly."""
        self.runs.stop()
        for process in self._commands:
            if process.poll() is None:
                process.kill()
                process.wait()
        while self._supervisors:
            self._supervisors.pop().stop()

    def check(self) -> None:
        """Raise what made a supervisor give up."""
        for supervisor in self._supervisors:
            supervisor.check()

    def all_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while waiting := [target.name for target in self.targets if not target.ready()]:
            if time.monotonic() > deadline:
                raise AssertionError(f"{', '.join(waiting)} not ready after {timeout:.0f} s")
            time.sleep(0.2)

    def open_bus(self) -> Bus:
        return bus_of(self.settings)

    def keep_checkpoints(self) -> bool:
        """Copy what the learners have written by now; False while there is nothing."""
        for number, worker in enumerate(self.workers):
            learnt, kept = worker.common.home / "learner", self._folder / f"kept-{number}"
            if any(learnt.glob("*/head.safetensors")):
                with suppress(shutil.Error):  # it is being written meanwhile: not whole, and taken the next time
                    shutil.rmtree(kept, ignore_errors=True)
                    shutil.copytree(learnt, kept)
                    self._kept[learnt] = kept
        return bool(self._kept)

    def exchange(self) -> int:
        """Kill the workers and put the older checkpoints in the place of the newer; the last number that these knew."""
        numbers = []
        for supervisor in self._supervisors:
            if pid := supervisor.pids().get("processor"):
                os.kill(pid, signal.SIGKILL)
        for learnt, kept in self._kept.items():
            numbers += [load(path).sequence for path in kept.glob("*/head.safetensors")]
            shutil.rmtree(learnt)
            shutil.copytree(kept, learnt)
        return max(numbers)

    def second_hub(self) -> str:
        """Start another hub on the same home, and one on another home; then give the numbering back to the first. What became of them."""
        same = self._command(self.settings.with_values(hub={"port": free_port()}), "hub")
        if (code := same.wait(TAKES_OVER)) == 0:
            raise AssertionError("two hubs worked on one warehouse")
        usurper = self.settings.with_values(
            {"home": self._folder / "usurper", "artifacts": self.settings.common.artifacts_url}, hub={"port": free_port()}
        )
        usurper.common.home.mkdir(exist_ok=True)
        second = self._command(usurper, "hub")
        _until(lambda: is_ready(url_of(usurper, "hub")), TAKES_OVER, "the second hub is not ready")
        _until(lambda: not is_ready(self.hub), TAKES_OVER, "the first hub goes on as if nothing had happened")
        time.sleep(REIGN)
        second.terminate()
        second.wait(30)
        self._restore_the_first()
        return f"a second hub on the same home left with code {code}; one on another home took over and was stopped; the first is rebuilt"

    def _restore_the_first(self) -> None:
        """As its message says: rebuild from the log, and start it on that. It stands still meanwhile, so that the supervisor leaves it."""
        home = self.settings.common.home
        pid = self._supervisors[0].pids()["hub"]
        os.kill(pid, signal.SIGSTOP)
        rebuilt = home / "rebuilt.duckdb"
        if self._command(self.settings, "replay", "--into", str(rebuilt)).wait(300):
            raise AssertionError(f"replay failed; see {self._folder / 'commands.log'}")
        (home / "warehouse.duckdb.wal").unlink(missing_ok=True)
        os.replace(rebuilt, home / "warehouse.duckdb")
        os.kill(pid, signal.SIGKILL)
        _until(lambda: is_ready(self.hub), TAKES_OVER, "the first hub does not come back")

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._broker is not None:
            self._broker.start()
            create_topics(self._broker.servers, KafkaSettings())
            self.targets.append(Target("broker", "broker", self._broker_answers, lambda: True, self._hit_broker))
        for number, worker in enumerate(self.workers):
            names = PROCESSES if number == 0 else ("processor",)
            # What stands still here has to wake up again and find what happened meanwhile; that a supervisor kills it is a test of its own.
            supervisor = Supervisor(worker, environment_of(worker), self._say, processes=names, silent_after=math.inf)
            supervisor.__enter__()
            self._supervisors.append(supervisor)
            self.targets += [self._target(worker, supervisor, name, f"{name} {number + 1}" if number else name) for name in names]
        self.runs.start()
        self.all_ready(180)

    def _target(self, settings: Settings, supervisor: Supervisor, process: str, name: str) -> Target:
        url = url_of(settings, process)

        def hit(number: signal.Signals, stopped: float) -> None:
            pid = supervisor.pids()[process]
            os.kill(pid, number)
            if number == signal.SIGSTOP:
                time.sleep(stopped)
                os.kill(pid, signal.SIGCONT)
            else:
                _until(lambda: supervisor.pids().get(process) not in (pid, None), RESTARTED_WITHIN, f"{process} is not started again")

        working = self.runs.one_is_open if process == "trainer" else (lambda: True)
        return Target(name, process, lambda: process in supervisor.pids() and is_ready(url), working, hit)

    def _broker_answers(self) -> bool:
        assert self._broker is not None
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._broker.port), timeout=1):
            return True
        return False

    def _hit_broker(self, number: signal.Signals, stopped: float) -> None:
        broker = self._broker
        assert broker is not None
        assert broker.pid is not None
        if number == signal.SIGSTOP:
            os.kill(broker.pid, number)
            time.sleep(stopped)
            os.kill(broker.pid, signal.SIGCONT)
            return
        if number == signal.SIGKILL:
            broker.kill()
        else:
            broker.stop()
        time.sleep(BROKER_AWAY)
        broker.start()

    def _command(self, settings: Settings, *words: str) -> "subprocess.Popen[bytes]":
        environment = dict(os.environ) | environment_of(settings) | SURROUNDINGS
        with (self._folder / "commands.log").open("ab") as log:
            process = subprocess.Popen([*COMMAND, *words], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._commands.append(process)
        return process


class RunsSeen:
    """Follows the log's word about runs, from the start on, in a thread; a log that is away is asked again."""

    def __init__(self, open_bus: Callable[[], Bus]) -> None:
        self._open_bus = open_bus
        self._runs: Runs = runs.fold(())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="runs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def one_is_open(self) -> bool:
        """Somebody works on a run, or is about to."""
        return runs.open_run(self._runs) is not None

    def all_ended(self) -> bool:
        """Nothing is worked on, and nothing waits for its turn."""
        return not self.one_is_open() and runs.next_to_freeze(self._runs) is None

    def _follow(self) -> None:
        after: dict[Partition, int] = {}
        with closing(self._open_bus()) as bus:
            while not self._over.is_set():
                try:
                    after = after or dict.fromkeys(bus.bounds([topic.name for topic in RUN_TOPICS]), -1)
                    entries = bus.read(after, limit=1_000, wait=0.5)
                except Overloaded:
                    self._over.wait(1)
                    continue
                for entry, event in decoded(entries, "chaos").events:
                    self._runs = runs.step(self._runs, event)
                    after[entry.partition] = entry.offset


def gauge(url: str, name: str) -> float:
    """One figure of ``/metrics``; 0 where the process does not have it."""
    for line in client().get(f"{url}/metrics", timeout=10).text.splitlines():
        if line.split("{")[0].split(" ")[0] == name:
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def _settings(home: Path, every: int) -> Settings:
    """The defaults with ports of their own, runs that come often and are short, and simulated judgments as teachers."""
    ports = {process: {"port": free_port()} for process in PROCESSES}
    return Settings.read(home.parent, {}).with_values(
        {"home": home, "sources": ("simulation",), "artifacts": str(home / "artifacts")},
        **ports,
        retraining={"every": every},
        feedback={"recruiters_per_pair": 100},
        dpo={"epochs": 1, "batch": 64, "least_rows": 1},
        evaluation={"max_tokens": 32, "kl_prompts": 20, "names": 4, "audit_pairs": 4, "audit_pairs_max": 4},
        gates={"win_rate": {"min_prompts": 20, "min_judgments": 10, "min_recruiters": 1}},  # a run waits for this much only
    )


def _until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{otherwise} after {seconds:.0f} s")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
