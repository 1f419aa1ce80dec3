"""Peers' servers as processes of their own on a free port of 127.0.0.1, and the CPU time that a process has used."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.processes import STOP_WITHIN, free_port, wait_for

READY_WITHIN = 180.0  # seconds
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """A server that answers at ``url``."""

    url: str
    pid: int


@contextmanager
def server(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, ready: str = "/docs") -> Iterator[Server]:
    """Run ``command`` with ``{port}`` filled in; it is ready once ``ready`` answers with less than 500."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    surroundings = dict(os.environ) | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | dict(environment or {})
    with log.open("ab") as output:
        process = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in command],
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: _answers(process, url + ready, log) or None, READY_WITHIN, f"{command[0]} is not ready; see {log}", every=0.2)
        yield Server(url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def asgi(app: str) -> list[str]:
    """The command that serves an ASGI app of this package with uvicorn's defaults, without an access log."""
    place = f"benchmarks.gateway.{app}:app"
    return [sys.executable, "-m", "uvicorn", place, "--host", HOST, "--port", "{port}", "--log-level", "warning", "--no-access-log"]


def cpu_seconds(pid: int) -> float:
    """CPU time of the process and its children so far."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _answers(process: "subprocess.Popen[bytes]", url: str, log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the server ended with {process.returncode}; see {log}:\n{log.read_text(errors='replace')[-2000:]}")
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False
