"""What ``up`` prints while it starts: the addresses, every 15 seconds what is not ready, and finally "ready"."""

import threading
import time
from typing import Any

import httpx
import pytest

from deploy.cli import main as cli
from storage.settings import Settings

pytestmark = pytest.mark.processes


class FakeSupervisor:
    """A fake supervisor that records the reported lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def report(self, line: str) -> None:
        self.lines.append(line)


def test_up_reports_addresses_then_what_is_not_ready_then_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    answers: list[bool] = [False, False, True, True]

    class Stop:
        def wait(self, seconds: float) -> bool:
            nonlocal now
            now += seconds
            return False

    def lives(url: str) -> bool:
        return answers.pop(0) if answers else True

    def why_not_ready(process: httpx.Client) -> str:
        return "the model is being loaded" if process.base_url.port == 8000 and now < 400 else ""

    monkeypatch.setattr(cli, "lives", lives)
    monkeypatch.setattr(cli, "why_not_ready", why_not_ready)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    supervisor, stop = FakeSupervisor(), Stop()
    untyped: Any = cli._report_until_ready
    untyped(supervisor, Settings.read(environ={}), stop)
    assert supervisor.lines[0] == "chat API   http://127.0.0.1:8000/v1\ndashboard  http://127.0.0.1:8050\nCtrl-C stops everything"
    assert supervisor.lines[-1] == "ready"
    assert set(supervisor.lines[1:-1]) == {"not ready yet: serving: the model is being loaded"}
    assert len(supervisor.lines[1:-1]) == 25, "about one every fifteen seconds"


def test_up_reports_nothing_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "lives", lambda url: False)
    stop = threading.Event()
    stop.set()
    supervisor: Any = FakeSupervisor()
    cli._report_until_ready(supervisor, Settings.read(environ={}), stop)
    assert supervisor.lines == []
