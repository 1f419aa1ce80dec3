"""Start the processes, watch them, start again what dies, and stop them all cleanly.

Each process is this command line with another word (``feedbackloop hub``) in a session of its own, so that Ctrl-C reaches the supervisor
alone and it can stop them in order. Each holds one end of a pipe, its lifeline: when the supervisor is killed, they stop by themselves.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType

import httpx
from pydantic import BaseModel

from storage.errors import ConfigurationError, FeedbackLoopError, PortInUse
from storage.settings import Settings

PROCESSES = ("hub", "serving", "processor", "trainer")  # in the order of starting; stopped the other way round
GIVES_WAY = ("trainer", 10)  # more niceness than ours: where cores are few, those that answer people go first
STOP_WITHIN = 8.0  # seconds from SIGTERM to SIGKILL: Ctrl-C has to be done within ten
# Training on a CPU allocates and frees large arrays at every step; glibc would give each back to the kernel and fault it in again.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
LIFELINE = "FEEDBACKLOOP_LIFELINE"  # in the environment of a child: the pipe's file descriptor


class Address(BaseModel):
    """The part of a process's section that the supervisor reads."""

    host: str = "127.0.0.1"
    port: int


DEFAULT_PORTS = {"serving": 8000, "hub": 8050, "processor": 8051, "trainer": 8052}


def url_of(settings: Settings, process: str) -> str:
    """Where ``process`` listens."""
    values = {"port": DEFAULT_PORTS[process]} | dict(settings.sections.get(process, {}))
    address = settings.with_values(**{process: values}).section(process, Address)
    return f"http://{address.host}:{address.port}"


@dataclass
class Child:
    """One process: its handle, and how often it had to be started again."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started_at: float = 0.0
    start_not_before: float = 0.0
    deaths: list[float] = field(default_factory=list)


class Supervisor:
    """Runs ``processes`` on ``settings`` until told to stop; use it as a context manager.

    Parameters
    ----------
    settings : the settings that every process gets, laid over by ``environment``
    environment : variables for the children, beyond this process's own
    report : called with a line for a person whenever something happens
    command : what is run, with a process's name as its last word

    Raises
    ------
    PortInUse
        Before anything is started, when a port is taken.
    ConfigurationError
        When another supervisor runs in the same home.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        report: Callable[[str], None],
        processes: Sequence[str] = PROCESSES,
        command: Sequence[str] = (sys.executable, "-m", "deploy.cli"),
    ) -> None:
        self.settings, self.report = settings, report
        self.home = settings.common.home.resolve()
        self._environment = dict(os.environ) | dict(environment)
        self._children = [Child(name, [*command, name]) for name in processes]
        self._stopping = threading.Event()
        self._failed: str | None = None
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> "Supervisor":
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "logs").mkdir(exist_ok=True)
        self._lock = (self.home / "supervisor.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"FeedbackLoop is running already in {self.home}; stop it, or set FEEDBACKLOOP_HOME to another folder"
            ) from error
        for child in self._children:
            _refuse_taken_port(child.name, url_of(self.settings, child.name))
        self._lifeline, self._our_end = os.pipe()
        for child in self._children:
            self._start(child)
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def pids(self) -> dict[str, int]:
        """The process ids of those that run."""
        return {c.name: c.process.pid for c in self._children if c.process is not None and c.process.poll() is None}

    def restarts(self) -> dict[str, int]:
        return {child.name: child.restarts for child in self._children}

    def check(self) -> None:
        """Raise what made the supervisor give up, if anything did."""
        if self._failed:
            raise ConfigurationError(self._failed)

    def wait_ready(self, processes: Sequence[str], timeout: float) -> None:
        """Return when ``/readyz`` of all of them says yes."""
        deadline = time.monotonic() + timeout
        waiting = list(processes)
        while waiting:
            self.check()
            if time.monotonic() > deadline:
                raise FeedbackLoopError(f"{', '.join(waiting)} not ready after {timeout:.0f} s; see {self.home / 'logs'}")
            waiting = [name for name in waiting if not is_ready(url_of(self.settings, name))]
            self._stopping.wait(0.1)

    def stop(self) -> None:
        """Stop every process: SIGTERM, and SIGKILL for what is still there after ``STOP_WITHIN`` seconds."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._watcher.join()
        running = [c.process for c in reversed(self._children) if c.process is not None and c.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_WITHIN
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.report(f"process {process.pid} did not stop in {STOP_WITHIN:.0f} s and was killed; nothing acknowledged is lost")
                process.kill()
                process.wait()
        os.close(self._our_end)
        os.close(self._lifeline)
        self._lock.close()

    def _start(self, child: Child) -> None:
        with (self.home / "logs" / f"{child.name}.log").open("ab") as log:
            child.process = subprocess.Popen(
                child.command,
                env=self._environment | MALLOC | {LIFELINE: str(self._lifeline), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lifeline,),
                start_new_session=True,
            )
        name, niceness = GIVES_WAY
        if child.name == name:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, child.process.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
        child.started_at = time.monotonic()

    def _watch(self) -> None:
        while not self._stopping.wait(0.1):
            for child in self._children:
                if child.process is None:
                    if time.monotonic() >= child.start_not_before:
                        self._start(child)
                    continue
                code = child.process.poll()
                if code is not None:
                    self._died(child, code)

    def _died(self, child: Child, code: int) -> None:
        child.process = None
        last = _last_line(self.home / "logs" / f"{child.name}.log")
        if code == 2:  # a setting is wrong: starting again would not mend it
            self._failed = last.removeprefix("feedbackloop: ") or f"{child.name} stopped with exit code 2; see {self.home / 'logs'}"
            child.start_not_before = float("inf")
            return
        # One that has run for a minute starts again at once; one that dies at every start waits longer each time, at most ten seconds.
        lived = time.monotonic() - child.started_at
        child.deaths = [*child.deaths, lived] if lived < 60 else [lived]
        wait = min(10.0, 0.25 * 2 ** (len(child.deaths) - 1))
        child.restarts += 1
        child.start_not_before = time.monotonic() + wait
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}: {last}"
        self.report(f"{child.name} stopped ({how}); starting it again")


def follow_lifeline() -> None:
    """In a child: stop this process when the supervisor's end of the pipe closes."""
    if LIFELINE not in os.environ:
        return
    descriptor = int(os.environ.pop(LIFELINE))

    def wait_for_the_end() -> None:
        with contextlib.suppress(OSError):
            os.read(descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_the_end, name="lifeline", daemon=True).start()


def is_ready(url: str) -> bool:
    """Whether the process at ``url`` says that it is ready."""
    try:
        return _asking().get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


@cache
def _asking() -> httpx.Client:
    """One for all questions: each client of its own would first load the certificates of every authority, for some 40 ms of a core."""
    return httpx.Client(timeout=2.0, limits=httpx.Limits(max_keepalive_connections=0))


def _refuse_taken_port(name: str, url: str) -> None:
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            variable = f"FEEDBACKLOOP_{name.upper()}__PORT"
            raise PortInUse(f"port {port} for {name} is in use: stop the program that listens there, or set {variable}") from error


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""
