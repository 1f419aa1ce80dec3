"""The supervisor with small processes of its own: starting, dying, giving up, stopping."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy import supervisor
from deploy.supervisor import Supervisor
from storage.errors import ConfigurationError, PortInUse
from storage.settings import Settings

SERVER = """
    import http.server, os, signal, sys
    from pathlib import Path
    from deploy.lifeline import follow_lifeline, last_words

    follow_lifeline()
    home, name = Path(os.environ["FEEDBACKLOOP_HOME"]), sys.argv[1]
    if (home / "wrong").exists():
        sys.exit(last_words("a setting is wrong") or 2)
    if (home / "stubborn").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

    (home / f"{name}.pid").write_text(str(os.getpid()))
    http.server.HTTPServer(("127.0.0.1", int(os.environ[f"PORT_{name.upper()}"])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
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
def make(tmp_path: Path, settings: Settings, ports: dict[str, int]) -> Callable[[], Supervisor]:
    script = tmp_path / "server.py"
    script.write_text(textwrap.dedent(SERVER))
    environment = {"FEEDBACKLOOP_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= {f"PORT_{name.upper()}": str(port) for name, port in ports.items()}
    lines: list[str] = []
    return lambda: Supervisor(settings, environment, lines.append, tuple(ports), (sys.executable, str(script)))


@pytest.fixture
def running(make: Callable[[], Supervisor]) -> Iterator[Supervisor]:
    with make() as supervisor:
        supervisor.wait_ready(("hub", "serving"), 20)
        yield supervisor


def test_a_killed_process_is_started_again(running: Supervisor) -> None:
    first = running.pids()["hub"]
    os.kill(first, signal.SIGKILL)
    until(lambda: running.pids().get("hub") not in (None, first))
    running.wait_ready(("hub",), 20)
    assert running.restarts() == {"hub": 1, "serving": 0}


def test_one_of_them_gives_way_to_the_others(make: Callable[[], Supervisor], monkeypatch: pytest.MonkeyPatch) -> None:
    assert supervisor.GIVES_WAY[0] == "trainer"
    monkeypatch.setattr(supervisor, "GIVES_WAY", ("serving", 5))
    with make() as running:
        running.wait_ready(("hub", "serving"), 20)
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert {name: os.getpriority(os.PRIO_PROCESS, pid) - ours for name, pid in running.pids().items()} == {"hub": 0, "serving": 5}


def test_stopping_leaves_no_process_behind(running: Supervisor) -> None:
    pids = running.pids().values()
    running.stop()
    assert not any(alive(pid) for pid in pids)


def test_a_process_that_ignores_the_signal_is_killed_in_time(
    make: Callable[[], Supervisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.supervisor.STOP_WITHIN", 0.5)
    (tmp_path / "stubborn").touch()
    with make() as supervisor:
        supervisor.wait_ready(("hub",), 20)
        pid = supervisor.pids()["hub"]
    assert not alive(pid)


def test_a_wrong_setting_is_not_tried_again(make: Callable[[], Supervisor], tmp_path: Path) -> None:
    (tmp_path / "wrong").touch()
    with make() as supervisor, pytest.raises(ConfigurationError, match="a setting is wrong"):
        supervisor.wait_ready(("hub",), 20)
    assert supervisor.restarts() == {"hub": 0, "serving": 0}


def test_a_port_in_use_is_named_before_anything_starts(make: Callable[[], Supervisor], ports: dict[str, int], tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports["serving"]))
        other.listen()
        with pytest.raises(PortInUse, match=rf"port {ports['serving']} for serving is in use.*FEEDBACKLOOP_SERVING__PORT"), make():
            pass
    assert not list(tmp_path.glob("*.pid"))


def test_a_second_supervisor_in_the_same_home_is_refused(running: Supervisor, make: Callable[[], Supervisor]) -> None:
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
