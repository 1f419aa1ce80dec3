"""The serving process itself: what it refuses to start with, and how it stops."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from serving.app import run
from storage.errors import ConfigurationError, ModelNotFound, PortInUse
from storage.events import ReplySent
from storage.events.wire import decode
from storage.settings import Settings
from streams.bus.open import open_bus
from tests.serving.conftest import WaitUntil

pytestmark = pytest.mark.processes

PROGRAM = "from serving.app import run; from storage.settings import Settings; run(Settings.read())"


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_it_refuses_to_listen_beyond_this_machine(settings: Settings, host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1"):
        run(settings.with_values(serving={"host": host, "port": 0}))


def test_a_port_in_use_is_named(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=str(port)):
            run(settings.with_values(serving={"port": port}))


def test_a_missing_model_is_a_startup_error(settings: Settings) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ModelNotFound, match="no such folder"):
        run(settings.with_values({"model": "./nowhere"}, serving={"port": 0}))
    assert signal.getsignal(signal.SIGTERM) is before


def test_importing_the_app_does_not_import_torch() -> None:
    code = "import serving.app, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sigterm_stops_it_cleanly_and_acknowledged_replies_are_durable(settings: Settings, tmp_path: Path, wait_until: WaitUntil) -> None:
    port = free_port()
    environment = os.environ | {
        "FEEDBACKLOOP_HOME": str(settings.common.home),
        "FEEDBACKLOOP_MODEL": settings.common.model,
        "FEEDBACKLOOP_SERVING__PORT": str(port),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    url = f"http://127.0.0.1:{port}"
    body = {"model": "champion", "messages": [{"role": "user", "content": "when is the interview ?"}], "max_tokens": 10}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: listening(port), 200)
        early = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        assert (early.status_code, early.json()["error"]["code"], early.headers["Retry-After"]) == (503, "not_ready", "1")
        assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
        wait_until(lambda: httpx.get(f"{url}/readyz", timeout=60).status_code == 200, 200)
        answer = httpx.post(f"{url}/v1/chat/completions", json=body).json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        errors = process.stderr.read()
    assert "Traceback" not in errors
    with closing(open_bus(settings.common.bus_url)) as bus:
        [entry] = bus.read(dict.fromkeys(bus.bounds(["chat.replies"]), -1), limit=10, wait=0)
    event = decode(entry.value)
    assert isinstance(event, ReplySent)
    assert str(event.event_id) == answer["feedbackloop"]["reply_id"]
