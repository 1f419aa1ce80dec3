"""What ``up`` says while it starts: first where everything is, now and then what it waits for, and at last that it is ready."""

import threading
import time
from typing import Any

import pytest

from deploy.cli import main as cli
from storage.settings import Settings

pytestmark = pytest.mark.processes


class Told:
    """In the supervisor's place: keeps what is reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def report(self, line: str) -> None:
        self.lines.append(line)


def test_it_says_where_then_what_it_waits_for_and_when_it_is_ready_however_long_that_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    answers: list[bool] = [False, False, True, True]

    class Stop:
        def wait(self, seconds: float) -> bool:
            nonlocal now
            now += seconds
            return False

    def lives(url: str) -> bool:
        return answers.pop(0) if answers else True

    def why_not_ready(url: str) -> str:
        return "the model is being loaded" if url.endswith(":8000") and now < 400 else ""

    monkeypatch.setattr(cli, "lives", lives)
    monkeypatch.setattr(cli, "why_not_ready", why_not_ready)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told, stop = Told(), Stop()
    untyped: Any = cli._say_when_ready
    untyped(told, Settings.read(environ={}), stop)
    assert told.lines[0] == "chat API   http://127.0.0.1:8000/v1\ndashboard  http://127.0.0.1:8050\nCtrl-C stops everything"
    assert told.lines[-1] == "ready"
    assert set(told.lines[1:-1]) == {"not ready yet: serving: the model is being loaded"}
    assert len(told.lines[1:-1]) == 25, "one in about fifteen seconds"


def test_it_says_no_more_when_it_was_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "lives", lambda url: False)
    stop = threading.Event()
    stop.set()
    told: Any = Told()
    cli._say_when_ready(told, Settings.read(environ={}), stop)
    assert told.lines == []
