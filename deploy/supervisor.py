"""Start the processes, watch them, start again what dies or hangs, and stop them all cleanly.

Each process is this command line with another word (``feedbackloop hub``) in a session of its own, so that Ctrl-C reaches the supervisor
alone and it can stop them in order. Each holds one end of a pipe, its lifeline: when the supervisor is killed, they stop by themselves.

Only a setting that is wrong from the start ends everything. Whatever else a process dies of is said, and it is started again, after a
longer wait each time; the others go on.
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

from deploy.lifeline import LAST_WORDS, LIFELINE, read_last_words
from deploy.own_processes import is_ready, lives, url_of
from storage.errors import ConfigurationError, FeedbackLoopError, PortInUse, temporary_reason
from storage.home import held, open_home
from storage.settings import Settings

PROCESSES = ("hub", "serving", "processor", "trainer")  # in the order of starting; stopped the other way round
# -P: a folder of the same name as one of our packages, where the command is given, must not take its place.
COMMAND = (sys.executable, "-P", "-m", "deploy.cli")
GIVES_WAY = ("trainer", 10)  # more niceness than ours: where cores are few, those that answer people go first
STOP_WITHIN = 8.0  # seconds from SIGTERM to SIGKILL: Ctrl-C has to be done within ten
LONGEST_WAIT = 10.0  # seconds before what dies again and again is started the next time
LIVED = 60.0  # seconds after which a process counts as having lived, and starts again at once
PROBE_EVERY = 2.0  # seconds
PROBE_WITHIN = 5.0  # seconds that a process has to say that it lives
SILENT_AFTER = 30.0  # seconds without an answer after which a process that has been ready hangs
LOADING = 10  # times as long for one that has not: importing and loading hold Python's lock, on slow cores for a while
SURROUNDINGS = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}  # the last is -P for what the processes start themselves


@dataclass
class Child:
    """One process: its handle, and how often it had to be started again.

    Attributes
    ----------
    words : the pipe on which it says why it ends
    deaths : in a row, each soon after the start
    answered, was_ready : in this life, to the probes
    has_run : it was ready in some life, so its settings are right
    silent : seconds that probes have had no answer, since the last one that had
    """

    name: str
    url: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    words: int = -1
    restarts: int = 0
    started_at: float = 0.0
    start_not_before: float = 0.0
    deaths: int = 0
    answered: bool = False
    was_ready: bool = False
    has_run: bool = False
    silent: float = 0.0
    hung: bool = False


class Supervisor:
    """Runs ``processes`` on ``settings`` until told to stop; use it as a context manager.

    Parameters
    ----------
    settings : the settings that every process gets, laid over by ``environment``
    environment : variables for the children, beyond this process's own
    report : called with a line for a person whenever something happens
    command : what is run, with a process's name as its last word
    silent_after : seconds without an answer after which a process that has been ready is killed and started again

    Raises
    ------
    PortInUse
        Before anything is started, when a port is taken.
    ConfigurationError
        When another supervisor runs in the same home, or nothing can be written there.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        report: Callable[[str], None],
        processes: Sequence[str] = PROCESSES,
        command: Sequence[str] = COMMAND,
        silent_after: float = SILENT_AFTER,
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
        """The process ids of those that run."""
        return {c.name: c.process.pid for c in self._children if c.process is not None and c.process.poll() is None}

    def restarts(self) -> dict[str, int]:
        return {child.name: child.restarts for child in self._children}

    def report(self, line: str) -> None:
        """Tell a person; a terminal that is gone, or a full disk behind it, is no reason to stop watching."""
        with contextlib.suppress(OSError):
            self._say(line)

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
        self._watcher.join()  # a probe may still wait for an answer; it starts and kills nothing any more
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
        for child in self._children:
            self._forget_words(child)
        os.close(self._our_end)
        os.close(self._lifeline)
        self._lock.close()

    def _start(self, child: Child) -> None:
        child.started_at = time.monotonic()
        child.answered = child.was_ready = child.hung = False
        child.silent = 0.0
        child.words, theirs = os.pipe()
        try:
            with self._log_of(child) as log:
                child.process = subprocess.Popen(
                    child.command,
                    env=self._environment | {LIFELINE: str(self._lifeline), LAST_WORDS: str(theirs)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(self._lifeline, theirs),
                    start_new_session=True,
                )
        finally:
            os.close(theirs)
        name, niceness = GIVES_WAY
        if child.name == name:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
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
                        self._start_again(child)
                    continue
                code = child.process.poll()
                if code is not None:
                    self._died(child, code)

    def _start_again(self, child: Child) -> None:
        try:
            self._start(child)
        except OSError as error:  # no memory, no process, no file: there may be later
            self._forget_words(child)
            self._wait(child, f"{child.name} cannot be started ({error})")

    def _died(self, child: Child, code: int) -> None:
        child.process = None
        log = self.home / "logs" / f"{child.name}.log"
        said = read_last_words(child.words)
        self._forget_words(child)
        if code == 2 and not child.has_run:  # a setting is wrong: starting again would not mend it
            self._failed = said or f"{child.name} stopped with exit code 2; see {log}"
            child.start_not_before = float("inf")
            return
        child.restarts += 1
        if child.hung:
            why = f"it did not answer for {child.silent:.0f} s and was killed"
        elif code < 0:
            why = f"signal {signal.Signals(-code).name}"
        else:
            why = said or f"exit code {code}; see {log}"
        self._wait(child, f"{child.name} stopped ({why})")

    def _forget_words(self, child: Child) -> None:
        if child.words >= 0:
            os.close(child.words)
        child.words = -1

    def _wait(self, child: Child, what: str) -> None:
        """One that has lived for a while starts again at once; one that dies at every start waits longer each time."""
        child.deaths = child.deaths + 1 if time.monotonic() - child.started_at < LIVED else 1
        wait = min(LONGEST_WAIT, 0.25 * 2 ** min(child.deaths - 1, 10))  # the exponent has an end too: days may pass
        child.start_not_before = time.monotonic() + wait
        self.report(f"{what}; starting it again" + (f" in {wait:.0f} s" if wait >= 1 else ""))

    def _probe(self) -> None:
        """Kill what has answered once in its life and does so no more: it hangs, and nothing else would end it."""
        while not self._stopping.wait(PROBE_EVERY):
            for child in self._children:
                process = child.process
                if process is None or child.hung:
                    continue
                asked_at = time.monotonic()
                if lives(child.url, PROBE_WITHIN):
                    child.answered, child.silent = True, 0.0
                    if not child.was_ready:
                        child.was_ready = is_ready(child.url)
                        child.has_run = child.has_run or child.was_ready
                    continue
                # What the probe took and the pause before it, not the clock's word: this process may have been stopped itself.
                child.silent += min(time.monotonic() - asked_at, PROBE_WITHIN) + PROBE_EVERY
                patience = self._silent_after * (1 if child.was_ready else LOADING)
                if child.answered and child.silent >= patience and child.process is process and not self._stopping.is_set():
                    child.hung = True
                    process.kill()


def _refuse_taken_port(name: str, url: str) -> None:
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            variable = f"FEEDBACKLOOP_{name.upper()}__PORT"
            raise PortInUse(f"port {port} for {name} is in use: stop the program that listens there, or set {variable}") from error
