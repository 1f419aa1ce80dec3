"""Runs the demo's simulated people as a child process that speaks HTTP; their taste stays inside it."""

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Literal, TextIO

from storage.errors import FeedbackLoopError
from storage.settings import Settings
from streams.addresses import url_of


class People:
    """Candidates, recruiters and the reviewer: ``python -m simulation``; ``controls`` are names of its options."""

    def __init__(self, settings: Settings, *, seed: int, controls: Collection[str] = ()) -> None:
        servers = ["--serving", url_of(settings, "serving"), "--hub", url_of(settings, "hub")]
        self._arguments = [*servers, "--seed", str(seed), *(f"--{name}" for name in sorted(controls))]
        self._log_path: Path = settings.common.home / "logs" / "people.log"
        self._log: TextIO | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "People":
        self._log = self._log_path.open("a")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._log is not None:
            self._log.close()

    def start(self, pace: Literal["fast", "slow", "duel", "calm"]) -> None:
        self._process = self._launch("people", "--pace", pace)

    def review(self, version: str) -> None:
        """Let the simulated reviewer decide on ``version``."""
        reviewer = self._launch("review", "--version", version)
        try:
            decided = reviewer.wait(60) == 0
        except subprocess.TimeoutExpired:
            reviewer.kill()
            decided = False
        if not decided:
            raise FeedbackLoopError(f"the simulated reviewer could not decide; see {self._log_path}")

    def check(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise FeedbackLoopError(f"the simulated people stopped with exit code {self._process.poll()}; see {self._log_path}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _launch(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "simulation", arguments[0], *self._arguments, *arguments[1:]]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=dict(os.environ), start_new_session=True
        )
