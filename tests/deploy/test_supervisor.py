"""The supervisor with small test processes: start, restart, giving up, stop."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import supervisor
from deploy.supervisor import Supervisor
from storage.errors import ConfigurationError, PortInUse
from storage.settings import Settings

pytestmark = pytest.mark.processes

SERVER = """
    import http.server, os, signal, sys
    from pathlib import Path
    from deploy.lifeline import follow_lifeline, send_exit_reason

    follow_lifeline()
    home, name = Path(os.environ["FEEDBACKLOOP_HOME"]), sys.argv[1]
    if (home / "wrong").exists():
        sys.exit(send_exit_reason("a setting is wrong") or 2)
    for trouble, code, reason in (("temporary", 75, "the disk is full"), ("crash", 1, "")):
        if (home / trouble).exists() and name == "hub":
            send_exit_reason(reason)
            print("nanobind: leaked 1 instances!", file=sys.stderr)
            os._exit(code)
    if (home / "stubborn").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    (home / f"{name}.pid").write_text(str(os.getpid()))
    http.server.HTTPServer(("127.0.0.1", int(os.environ[f"PORT_{name.upper()}"])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float = 20, clock: Callable[[], float] = time.monotonic) -> None:
    deadline = clock() + seconds
    while not condition():
        assert clock() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def ports() -> dict[str, int]:
    return {"hub": free_port(), "serving": free_port()}


@pytest.fixture
def settings(tmp_path: Path, ports: dict[str, int]) -> Settings:
    return Settings.read(tmp_path, {}).with_values({"home": tmp_path}, **{name: {"port": port} for name, port in ports.items()})


@pytest.fixture
def make(tmp_path: Path, settings: Settings, ports: dict[str, int], lines: list[str]) -> Callable[..., Supervisor]:
    script = tmp_path / "server.py"
    script.write_text(textwrap.dedent(SERVER))
    environment = {"FEEDBACKLOOP_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= {f"PORT_{name.upper()}": str(port) for name, port in ports.items()}
    return lambda **more: Supervisor(settings, environment, lines.append, tuple(ports), (sys.executable, str(script)), **more)


@pytest.fixture
def lines() -> list[str]:
    """The lines that the supervisor reports."""
    return []


@pytest.fixture
def running(make: Callable[..., Supervisor]) -> Iterator[Supervisor]:
    with make() as supervisor:
        supervisor.wait_ready(("hub", "serving"), 20)
        yield supervisor


def test_a_killed_process_is_started_again(running: Supervisor) -> None:
    first = running.pids()["hub"]
    os.kill(first, signal.SIGKILL)
    until(lambda: running.pids().get("hub") not in (None, first))
    running.wait_ready(("hub",), 20)
    assert running.restarts() == {"hub": 1, "serving": 0}


def test_one_process_has_a_lower_priority_than_the_others(make: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch) -> None:
    assert supervisor.LOW_PRIORITY[0] == "trainer"
    monkeypatch.setattr(supervisor, "LOW_PRIORITY", ("serving", 5))
    with make() as running:
        running.wait_ready(("hub", "serving"), 20)
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert {name: os.getpriority(os.PRIO_PROCESS, pid) - ours for name, pid in running.pids().items()} == {"hub": 0, "serving": 5}


def test_stopping_leaves_no_process_behind(running: Supervisor) -> None:
    pids = running.pids().values()
    running.stop()
    assert not any(alive(pid) for pid in pids)


def test_a_process_that_ignores_the_signal_is_killed_in_time(
    make: Callable[..., Supervisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.supervisor.STOP_TIMEOUT", 0.5)
    (tmp_path / "stubborn").touch()
    with make() as supervisor:
        supervisor.wait_ready(("hub",), 20)
        pid = supervisor.pids()["hub"]
    assert not alive(pid)


def test_a_wrong_setting_is_not_tried_again(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    (tmp_path / "wrong").touch()
    with make() as supervisor, pytest.raises(ConfigurationError, match="a setting is wrong"):
        supervisor.wait_ready(("hub",), 20)
    assert supervisor.restarts() == {"hub": 0, "serving": 0}


@pytest.mark.parametrize(("trouble", "said"), [("temporary", "the disk is full"), ("crash", r"exit code 1; see .*/logs/hub\.log")])
def test_a_temporary_failure_is_reported_and_retried_while_the_others_go_on(
    make: Callable[..., Supervisor], tmp_path: Path, lines: list[str], trouble: str, said: str
) -> None:
    (tmp_path / trouble).touch()
    with make() as supervisor:
        supervisor.wait_ready(("serving",), 20)
        serving = supervisor.pids()["serving"]
        until(lambda: supervisor.restarts()["hub"] >= 3)
        supervisor.check()
        (tmp_path / trouble).unlink()
        supervisor.wait_ready(("hub",), 20)
        assert supervisor.pids()["serving"] == serving
    assert all(re.fullmatch(rf"hub stopped \({said}\); starting it again( in \d s)?", line) for line in lines), lines
    assert len(lines) >= 3


def test_the_wait_before_a_process_that_dies_at_every_start_grows_and_has_an_end(
    make: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    dying, waits = make(), []
    child = dying._children[0]
    for _ in range(9):
        child.started_at = now
        dying._schedule_restart(child, "hub stopped")
        waits.append(child.start_not_before - now)
        now = child.start_not_before
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 10, 10, 10]
    child.started_at, child.deaths = now, 10_000
    dying._schedule_restart(child, "hub stopped")
    assert child.start_not_before - now == 10
    child.started_at, now = now, now + supervisor.STABLE_AFTER
    dying._schedule_restart(child, "hub stopped")
    assert child.start_not_before - now == 0.25


def test_a_setting_found_wrong_in_a_process_that_has_run_does_not_end_the_others(
    make: Callable[..., Supervisor], tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PROBE_INTERVAL", 0.05)
    with make() as running:
        running.wait_ready(("hub", "serving"), 20)
        until(lambda: all(child.ever_ready for child in running._children))
        (tmp_path / "wrong").touch()
        os.kill(running.pids()["hub"], signal.SIGKILL)
        until(lambda: "hub stopped (a setting is wrong); starting it again" in " ".join(lines))
        running.check()
        (tmp_path / "wrong").unlink()
        running.wait_ready(("hub",), 20)


def test_a_process_that_hangs_is_killed_and_started_again(
    make: Callable[..., Supervisor], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(supervisor, "PROBE_TIMEOUT", 0.2)
    with make(silent_after=1.0) as running:
        running.wait_ready(("hub", "serving"), 20)
        until(lambda: all(child.was_ready for child in running._children))
        first = running.pids()
        os.kill(first["hub"], signal.SIGSTOP)
        until(lambda: running.pids().get("hub") not in (None, first["hub"]))
        running.wait_ready(("hub",), 20)
        assert running.pids()["serving"] == first["serving"]
    assert lines == ["hub stopped (it did not answer for 1 s and was killed); starting it again"]


def test_a_process_that_is_still_loading_may_be_silent_for_longer(
    make: Callable[..., Supervisor], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(supervisor, "PROBE_TIMEOUT", 0.1)
    monkeypatch.setattr(supervisor, "is_ready", lambda url: False)
    with make(silent_after=0.3) as running:
        until(lambda: all(child.answered for child in running._children))
        hub = running.pids()["hub"]
        os.kill(hub, signal.SIGSTOP)
        until(lambda: running._children[0].silent > 1.5)
        assert running.pids()["hub"] == hub
        os.kill(hub, signal.SIGCONT)
        until(lambda: running._children[0].silent == 0)
    assert lines == []


def test_a_pause_of_the_supervisor_itself_is_no_silence_of_the_processes(
    make: Callable[..., Supervisor], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PROBE_INTERVAL", 0.05)
    asked: list[str] = []
    now = 1000.0

    def slow(url: str, timeout: float) -> bool:
        """The clock advances by a minute at every probe, as in a process that was suspended meanwhile."""
        nonlocal now
        asked.append(url)
        now += 60
        return len(asked) <= 2

    monkeypatch.setattr(supervisor, "lives", slow)
    with make(silent_after=30.0):
        monkeypatch.setattr(time, "monotonic", lambda: now)
        until(lambda: len(asked) > 6, clock=time.perf_counter)
        monkeypatch.undo()
    assert lines == []


def test_a_full_disk_behind_the_log_does_not_keep_a_process_from_starting(
    make: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Path.open

    def on_a_full_disk(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.name == "hub.log":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return usual(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with make() as running:
        running.wait_ready(("hub", "serving"), 20)


def test_the_exit_reason_reaches_the_supervisor_even_if_the_log_cannot_be_written(
    make: Callable[..., Supervisor], tmp_path: Path, lines: list[str]
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "hub.log").symlink_to("/dev/full")
    (tmp_path / "temporary").touch()
    with make() as running:
        until(lambda: running.restarts()["hub"] >= 1)
    assert "the disk is full" in lines[0]


def test_a_port_in_use_is_named_before_anything_starts(make: Callable[..., Supervisor], ports: dict[str, int], tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports["serving"]))
        other.listen()
        with pytest.raises(PortInUse, match=rf"port {ports['serving']} for serving is in use.*FEEDBACKLOOP_SERVING__PORT"), make():
            pass
    assert not list(tmp_path.glob("*.pid"))


def test_a_second_supervisor_in_the_same_home_is_refused(running: Supervisor, make: Callable[..., Supervisor]) -> None:
    with pytest.raises(ConfigurationError, match="is running already"), make():
        pass


def test_processes_stop_when_the_supervisor_is_killed(tmp_path: Path, ports: dict[str, int]) -> None:
    script = tmp_path / "server.py"
    script.write_text(textwrap.dedent(SERVER))
    environment = {"FEEDBACKLOOP_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= {f"PORT_{name.upper()}": str(port) for name, port in ports.items()}
    program = f"""
        import sys, time
        from deploy.supervisor import Supervisor
        from storage.settings import Settings
        settings = Settings.read().with_values(hub={{"port": {ports["hub"]}}}, serving={{"port": {ports["serving"]}}})
        with Supervisor(settings, {{}}, print, ("hub", "serving"), (sys.executable, {str(script)!r})):
            time.sleep(60)
    """
    supervisor = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], env=os.environ | environment, cwd=tmp_path)
    files = [tmp_path / "hub.pid", tmp_path / "serving.pid"]
    until(lambda: all(file.exists() and file.read_text() for file in files))
    pids = [int(file.read_text()) for file in files]
    supervisor.kill()
    supervisor.wait()
    until(lambda: not any(alive(pid) for pid in pids))
