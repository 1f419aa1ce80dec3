"""End-to-end test of `feedbackloop up`: the README's examples, a killed process, Ctrl-C, verify, import and train."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
PROCESSES = ("serving", "hub", "processor", "trainer")
STOPS_WITHIN = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Loop:
    folder: Path
    environment: Mapping[str, str]
    ports: Mapping[str, int]
    process: subprocess.Popen[str]

    def url(self, process: str) -> str:
        return f"http://127.0.0.1:{self.ports[process]}"

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "deploy.cli", *words]
        return subprocess.run(line, cwd=self.folder, env=dict(self.environment), capture_output=True, text=True, timeout=240, check=False)

    def ready(self, process: str) -> bool:
        try:
            return httpx.get(f"{self.url(process)}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url('hub')}/v1/status", timeout=30).json()
        return found


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    folder = tmp_path / "loop"
    folder.mkdir()
    ports = {process: free_port() for process in PROCESSES}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEEDBACKLOOP_")}
    environment |= {"FEEDBACKLOOP_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    environment |= {f"FEEDBACKLOOP_{process.upper()}__PORT": str(port) for process, port in ports.items()}
    with (folder / "up.log").open("w") as log:
        command = [sys.executable, "-m", "deploy.cli", "up"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, text=True, start_new_session=True)
    loop = Loop(folder, environment, ports, process)
    try:
        until(lambda: all(loop.ready(name) for name in PROCESSES))
        yield loop
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def test_a_loop_from_the_first_judgment_to_its_verification(loop: Loop) -> None:
    """One story: each chapter needs those before it."""
    readme_examples_store_a_judgment(loop)
    a_killed_hub_restarts_without_data_loss(loop)
    records_are_imported_once_and_train_a_reward_model_that_ignores_the_order_of_sides(loop)
    verify_detects_an_altered_row_and_ctrl_c_stops_in_time(loop)


def readme_examples_store_a_judgment(loop: Loop) -> None:
    lines, client, _reward_model, _policy = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(lines.strip().splitlines()) <= 10
    names: dict[str, Any] = {}
    exec(lines.replace("http://127.0.0.1:8000", loop.url("serving")), names)
    assert names["reply"].choices[0].message.content
    assert names["answer"].json()["status"] == "accepted"
    until(lambda: loop.status()["counts"]["preferences"] >= 1)
    (record,) = [json.loads(line) for line in httpx.get(f"{loop.url('hub')}/v1/export").text.splitlines()]
    assert record["chosen"][0]["content"] == names["reply"].choices[0].message.content

    exec(client.replace("Client()", f"Client({loop.url('serving')!r}, {loop.url('hub')!r})"), names)
    assert names["reply"].text
    until(lambda: loop.status()["counts"]["preferences"] >= 2)


def a_killed_hub_restarts_without_data_loss(loop: Loop) -> None:
    before = loop.status()["counts"]
    pids = subprocess.run(
        ["pgrep", "-f", "-P", str(loop.process.pid), "deploy.cli hub"], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(pids[0]), signal.SIGKILL)
    until(lambda: not loop.ready("hub"), 10)
    until(lambda: loop.ready("hub"))
    after = loop.status()["counts"]
    assert {name: after[name] for name in ("replies", "pairs", "judgments", "preferences")} == {
        name: before[name] for name in ("replies", "pairs", "judgments", "preferences")
    }


def records_are_imported_once_and_train_a_reward_model_that_ignores_the_order_of_sides(loop: Loop) -> None:
    records = [
        {
            "prompt": f"Question {n}: when is my interview?",
            "chosen": f"It is on Monday at {9 + n % 8}:00, {n}.",
            "rejected": f"Some day, {n}.",
        }
        for n in range(60)
    ]
    file = loop.folder / "records.jsonl"
    file.write_text("\n".join(json.dumps(record) for record in records) + "\nno record\n")
    first = loop.command("import", str(file), "--objective", "helpful")
    assert "60 records taken in, 0 known already, 1 refused" in first.stdout
    assert "line 61" in first.stderr
    assert "0 records taken in, 60 known already" in loop.command("import", str(file), "--objective", "helpful").stdout
    until(lambda: loop.status()["counts"]["preferences"] >= 61)
    assert loop.status()["counts"]["judgments_seen"] <= 2  # imports move no threshold
    trained = [loop.command("train", "--phase", "reward", *words) for words in ((), ("--swap-sides",))]
    assert all(done.returncode == 0 for done in trained), [done.stderr for done in trained]
    assert "accuracy" in trained[0].stdout
    assert trained[0].stdout == trained[1].stdout


def verify_detects_an_altered_row_and_ctrl_c_stops_in_time(loop: Loop) -> None:
    agreed = loop.command("verify")
    assert (agreed.returncode, "agree" in agreed.stdout) == (0, True), agreed.stdout + agreed.stderr
    started = time.monotonic()
    loop.process.send_signal(signal.SIGINT)
    loop.process.wait(30)
    assert time.monotonic() - started < STOPS_WITHIN
    assert loop.process.returncode == 0
    with duckdb.connect(loop.folder / "home" / "warehouse.duckdb") as warehouse:
        (event_id,) = warehouse.execute("SELECT event_id FROM judgment_given ORDER BY event_id LIMIT 1").fetchone() or ("",)
        warehouse.execute("UPDATE judgment_given SET strength = 4 WHERE event_id = ?", [event_id])
    altered = loop.command("verify")
    assert altered.returncode == 1
    assert str(event_id) in altered.stdout
