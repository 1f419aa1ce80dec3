"""Starts the processes, restarts those that exit or hang, and stops them all cleanly.

Each process is a subcommand (``feedbackloop hub``) in its own session, so that Ctrl-C reaches only the supervisor, which stops them in
order. Each holds one end of a pipe, its lifeline: when the supervisor is killed, they stop by themselves.

Only a setting that is wrong from the start ends everything. Any other exit is reported, and the process is restarted with exponential
backoff, while the others keep running.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO
from urllib.parse import urlsplit

from deploy.lifeline import EXIT_REASON, LIFELINE, read_exit_reason
from deploy.own_processes import is_ready, lives
from storage.errors import ConfigurationError, FeedbackLoopError, PortInUse, temporary_reason
from storage.home import held, open_home
from storage.settings import Settings
from streams.addresses import url_of

PROCESSES = ("hub", "serving", "processor", "trainer")  # in start order; stopped in reverse
# -P: a folder in the working directory must not shadow one of our packages.
COMMAND = (sys.executable, "-P", "-m", "deploy.cli")
LOW_PRIORITY = ("trainer", 10)  # niceness added to ours: with few cores, processes that answer people go first
STOP_TIMEOUT = 8.0  # seconds from SIGTERM to SIGKILL: Ctrl-C has to finish within ten
MAX_BACKOFF = 10.0  # seconds
STABLE_AFTER = 60.0  # seconds of running after which the backoff starts over
PROBE_INTERVAL = 2.0  # seconds
PROBE_TIMEOUT = 5.0  # seconds
HANG_TIMEOUT = 30.0  # seconds without an answer after which a process that has been ready counts as hung
LOADING_FACTOR = 10  # multiplies HANG_TIMEOUT until a process is ready: importing and loading hold the GIL, for long on slow cores
SURROUNDINGS = {
    "OMP_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",  # -P for subprocesses of the processes
    # What oneDNN, and torch's layer above it, have compiled for one shape they keep, 1,024 each by default. Texts have many lengths: on
    # a CPU with bfloat16 that came to 900 MB. With 64, embedding is as fast.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
}


@dataclass
class Child:
    """One process and its state.

    Attributes
    ----------
    reason_pipe : the pipe on which it sends its exit reason
    deaths : consecutive exits, each soon after the start
    answered, was_ready : whether it has answered a probe, and been ready, since it was last started
    ever_ready : whether it has been ready since any start, so that its settings are right
    silent : seconds without an answer since the last answered probe
    """

    name: str
    url: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    reason_pipe: int = -1
    restarts: int = 0
    started_at: float = 0.0
    start_not_before: float = 0.0
    deaths: int = 0
    answered: bool = False
    was_ready: bool = False
    ever_ready: bool = False
    silent: float = 0.0
    hung: bool = False


class Supervisor:
    """Runs ``processes`` on ``settings`` until told to stop; use it as a context manager.

    Parameters
    ----------
    settings : the settings of every process, overridden by ``environment``
    environment : environment variables for the children, added to this process's own
    report : called with a line for the user whenever something happens
    command : the command to run; a process's name is appended
    silent_after : seconds without an answer after which a process that has been ready is killed and restarted

    Raises
    ------
    PortInUse
        A port is taken; nothing has been started.
    ConfigurationError
        Another supervisor runs in the same home, or the home is not writable.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        report: Callable[[str], None],
        processes: Sequence[str] = PROCESSES,
        command: Sequence[str] = COMMAND,
        silent_after: float = HANG_TIMEOUT,
    ) -> None:
        self.settings, self._say = settings, report
        self.home = settings.common.home
        self._environment = dict(os.environ) | dict(environment) | SURROUNDINGS
        self._silent_after = silent_after
        self._children = [Child(name, url_of(settings, name), [*command, name]) for name in processes]
        self._lock = contextlib.ExitStack()
        self._stopping = threading.Event()
        self._failed: str | None = None
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._prober = threading.Thread(target=self._probe, name="probes", daemon=True)

    def __enter__(self) -> "Supervisor":
        open_home(self.home)
        (self.home / "logs").mkdir(exist_ok=True, mode=0o700)
        taken = f"FeedbackLoop is running already in {self.home}; stop it, or set FEEDBACKLOOP_HOME to another folder"
        self._lock.enter_context(held(self.home / "supervisor.lock", taken))
        for child in self._children:
            _refuse_taken_port(child.name, child.url)
        self._lifeline, self._our_end = os.pipe()
        for child in self._children:
            self._start(child)
        self._watcher.start()
        self._prober.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def pids(self) -> dict[str, int]:
        """The process ids of running processes, by name."""
        return {c.name: c.process.pid for c in self._children if c.process is not None and c.process.poll() is None}

    def restarts(self) -> dict[str, int]:
        return {child.name: child.restarts for child in self._children}

    def report(self, line: str) -> None:
        """Report a line to the user; a closed terminal or a full disk must not stop the supervisor."""
        with contextlib.suppress(OSError):
            self._say(line)

    def check(self) -> None:
        """Raise ConfigurationError if the supervisor has given up."""
        if self._failed:
            raise ConfigurationError(self._failed)

    def wait_ready(self, processes: Sequence[str], timeout: float) -> None:
        """Return when ``/readyz`` of all of them answers 200."""
        deadline = time.monotonic() + timeout
        waiting = list(processes)
        while waiting:
            self.check()
            if time.monotonic() > deadline:
                raise FeedbackLoopError(f"{', '.join(waiting)} not ready after {timeout:.0f} s; see {self.home / 'logs'}")
            waiting = [name for name in waiting if not is_ready(url_of(self.settings, name))]
            self._stopping.wait(0.1)

    def stop(self) -> None:
        """Stop every process: SIGTERM, then SIGKILL after ``STOP_TIMEOUT`` seconds."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._watcher.join()  # the prober may still wait for an answer, but starts and kills nothing from here on
        running = [c.process for c in reversed(self._children) if c.process is not None and c.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.report(f"process {process.pid} did not stop in {STOP_TIMEOUT:.0f} s and was killed; nothing acknowledged is lost")
                process.kill()
                process.wait()
        for child in self._children:
            self._close_reason_pipe(child)
        os.close(self._our_end)
        os.close(self._lifeline)
        self._lock.close()

    def _start(self, child: Child) -> None:
        child.started_at = time.monotonic()
        child.answered = child.was_ready = child.hung = False
        child.silent = 0.0
        child.reason_pipe, theirs = os.pipe()
        try:
            with self._log_of(child) as log:
                child.process = subprocess.Popen(
                    child.command,
                    env=self._environment | {LIFELINE: str(self._lifeline), EXIT_REASON: str(theirs)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(self._lifeline, theirs),
                    start_new_session=True,
                )
        finally:
            os.close(theirs)
        name, niceness = LOW_PRIORITY
        if child.name == name:
            with contextlib.suppress(ProcessLookupError):  # it has exited already
                os.setpriority(os.PRIO_PROCESS, child.process.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)

    def _log_of(self, child: Child) -> BinaryIO:
        try:
            return (self.home / "logs" / f"{child.name}.log").open("ab")
        except OSError as error:
            if temporary_reason(error) is None:
                raise
            return open(os.devnull, "ab")  # a full disk: it runs without a log

    def _watch(self) -> None:
        while not self._stopping.wait(0.1):
            for child in self._children:
                if child.process is None:
                    if time.monotonic() >= child.start_not_before:
                        self._restart(child)
                    continue
                code = child.process.poll()
                if code is not None:
                    self._on_exit(child, code)

    def _restart(self, child: Child) -> None:
        try:
            self._start(child)
        except OSError as error:  # out of memory, processes or files: may pass
            self._close_reason_pipe(child)
            self._schedule_restart(child, f"{child.name} cannot be started ({error})")

    def _on_exit(self, child: Child, code: int) -> None:
        child.process = None
        log = self.home / "logs" / f"{child.name}.log"
        reason = read_exit_reason(child.reason_pipe)
        self._close_reason_pipe(child)
        if code == 2 and not child.ever_ready:  # a wrong setting: restarting would not help
            self._failed = reason or f"{child.name} stopped with exit code 2; see {log}"
            child.start_not_before = float("inf")
            return
        child.restarts += 1
        if child.hung:
            why = f"it did not answer for {child.silent:.0f} s and was killed"
        elif code < 0:
            why = f"signal {signal.Signals(-code).name}"
        else:
            why = reason or f"exit code {code}; see {log}"
        self._schedule_restart(child, f"{child.name} stopped ({why})")

    def _close_reason_pipe(self, child: Child) -> None:
        if child.reason_pipe >= 0:
            os.close(child.reason_pipe)
        child.reason_pipe = -1

    def _schedule_restart(self, child: Child, what: str) -> None:
        """Schedule the restart with exponential backoff, which starts over once a process has run for ``STABLE_AFTER`` seconds."""
        child.deaths = child.deaths + 1 if time.monotonic() - child.started_at < STABLE_AFTER else 1
        wait = min(MAX_BACKOFF, 0.25 * 2 ** min(child.deaths - 1, 10))  # the exponent is capped too: this may go on for days
        child.start_not_before = time.monotonic() + wait
        self.report(f"{what}; starting it again" + (f" in {wait:.0f} s" if wait >= 1 else ""))

    def _probe(self) -> None:
        """Kill processes that have answered since their start and no longer do: they hang and would never exit."""
        while not self._stopping.wait(PROBE_INTERVAL):
            for child in self._children:
                process = child.process
                if process is None or child.hung:
                    continue
                asked_at = time.monotonic()
                if lives(child.url, PROBE_TIMEOUT):
                    child.answered, child.silent = True, 0.0
                    if not child.was_ready:
                        child.was_ready = is_ready(child.url)
                        child.ever_ready = child.ever_ready or child.was_ready
                    continue
                # Add the probe's duration and the interval, not the clock's difference: this process may have been suspended itself.
                child.silent += min(time.monotonic() - asked_at, PROBE_TIMEOUT) + PROBE_INTERVAL
                patience = self._silent_after * (1 if child.was_ready else LOADING_FACTOR)
                if child.answered and child.silent >= patience and child.process is process and not self._stopping.is_set():
                    child.hung = True
                    process.kill()


def _refuse_taken_port(name: str, url: str) -> None:
    where = urlsplit(url)
    assert where.hostname is not None
    with socket.socket(socket.AF_INET6 if ":" in where.hostname else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((where.hostname, where.port or 0))
        except OSError as error:
            variable = f"FEEDBACKLOOP_{name.upper()}__PORT"
            raise PortInUse(f"port {where.port} for {name} is in use: stop the program that listens there, or set {variable}") from error
