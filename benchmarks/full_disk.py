"""Is a full disk only an interruption?

``python -m benchmarks.full_disk --json FILE`` runs ``feedbackloop up`` with its home on a small file system of its own (a tmpfs of 60 MB:
mounting it needs root, on Linux), lets a crowd chat and judge, fills the disk for a while, and frees it. ``up`` and serving have to live
through it, and afterwards everything goes on: each acknowledged event stands on the log, and log and warehouse agree. Exit code 1 if not.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.chaos_house import free_port
from benchmarks.crowd import Crowd
from benchmarks.figures import Figure, is_reached, result, write
from benchmarks.processes import wait_for
from deploy.demo import environment_of
from deploy.own_processes import client, is_ready, lives
from deploy.supervisor import COMMAND, PROCESSES, SURROUNDINGS
from storage.settings import Settings
from streams.addresses import url_of
from streams.bus.open import bus_of
from streams.bus.scan import to_end
from streams.bus.topics import TOPICS
from streams.pseudonyms import pseudonym_key

SIZE = "60m"
RATES = {"judge": 10.0, "draw": 2.0, "chat": 0.5}
READY_WITHIN = 240.0
WORK = 15.0  # seconds that the crowd works before the disk is full, and again after it is freed
RECOVERED_WITHIN = 120.0
SETTLED_WITHIN = 180.0
BLOCK = 64 * 1024


@dataclass
class Outcome:
    """What was seen.

    Attributes
    ----------
    chats : status codes of the chats that were tried while the disk was full; 0: no answer
    up_lived, serving_lived : the same processes from beginning to end
    recovered_after : seconds from freeing the disk until everything was ready and a chat was answered
    lost : acknowledged events that are not on the log
    """

    chats: Counter[int]
    acknowledged: int
    up_lived: bool
    serving_lived: bool
    recovered_after: float
    lost: int
    verified: bool
    said: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=45.0, help="how long the disk is full")
    parser.add_argument("--quick", action="store_true", help="full for 15 seconds")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("mount") is None or sys.platform != "linux":
        sys.exit("full_disk mounts a small file system: run it as root on Linux")
    seconds = 15.0 if arguments.quick else arguments.seconds
    with tempfile.TemporaryDirectory(prefix="full-disk-") as folder, small_disk(Path(folder) / "home", SIZE) as home:
        outcome = full_disk(home, Path(folder), seconds)
    found = result("full_disk", figures(outcome), ("duckdb",), chats_while_full=dict(outcome.chats), said=outcome.said)
    write(found, arguments.json)
    sys.stdout.write(f"chats while the disk was full, by status: {dict(outcome.chats)}\n" + "".join(f"  {line}\n" for line in outcome.said))
    sys.exit(0 if all(is_reached(figure) is not False for figure in found["figures"]) else 1)


def figures(outcome: Outcome) -> list[Figure]:
    """The outcome in the form of every benchmark."""
    return [
        Figure("acknowledged", outcome.acknowledged, None, None, "1"),
        Figure("chats_tried_while_full", sum(outcome.chats.values()), None, None, "1", ">=1"),
        Figure("chats_without_an_answer", outcome.chats[0], None, None, "1", "==0"),
        Figure("up_lived", outcome.up_lived, None, None, "1", "==1"),
        Figure("serving_lived", outcome.serving_lived, None, None, "1", "==1"),
        Figure("recovered_after", outcome.recovered_after, None, None, "s", f"<={RECOVERED_WITHIN:.0f}"),
        Figure("lost", outcome.lost, None, None, "1", "==0"),
        Figure("verified", outcome.verified, None, None, "1", "==1"),
    ]


def full_disk(home: Path, folder: Path, seconds: float) -> Outcome:
    """Run the loop in ``home``, which lies on a small disk of its own, and fill that for ``seconds``."""
    settings = Settings.read(folder, {}).with_values(
        {"home": home, "sources": ("simulation",)},
        **{process: {"port": free_port()} for process in PROCESSES},
        retraining={"every": 1_000_000},
        # While the disk is full no pair is drawn, and the few people of the crowd judge the same ones again and again.
        feedback={"recruiters_per_pair": 100, "judgments_per_recruiter_and_pair": 1_000},
    )
    urls = {process: url_of(settings, process) for process in PROCESSES}
    output = folder / "up.log"
    with running(settings, output) as up:
        wait_for(lambda: all(map(is_ready, urls.values())) or None, READY_WITHIN, "everything is ready", 0.5)
        serving = pid_of(up.pid, "serving")
        crowd = Crowd(urls["serving"], urls["hub"], seed=1, rates=RATES, key=pseudonym_key(settings.common))
        crowd.start()
        time.sleep(WORK)
        chats: Counter[int] = Counter()
        filler = home / "filler"
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            fill(filler)  # again and again: what the processes give up meanwhile is not to help them
            chats[chat(urls["serving"])] += 1
            time.sleep(0.5)
        filler.unlink()
        freed = time.monotonic()
        wait_for(
            lambda: (all(map(is_ready, urls.values())) and chat(urls["serving"]) == 200) or None,
            SETTLED_WITHIN,
            "everything is ready again",
            0.5,
        )
        recovered_after = time.monotonic() - freed
        time.sleep(WORK)
        crowd.stop()
        wait_for(lambda: nothing_outstanding(urls["hub"]) or None, SETTLED_WITHIN, "the warehouse holds the whole log", 0.5)
        verified = bool(client().get(f"{urls['hub']}/v1/verify", timeout=120).json()["ok"])
        lived = up.poll() is None, pid_of(up.pid, "serving") == serving
    return Outcome(
        chats=chats,
        acknowledged=len(crowd.acknowledged),
        up_lived=lived[0],
        serving_lived=lived[1],
        recovered_after=recovered_after,
        lost=len(crowd.acknowledged.keys() - ids_on_the_log(settings)),
        verified=verified,
        said=output.read_text(encoding="utf-8").splitlines(),
    )


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of ``size`` at ``folder``, in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def running(settings: Settings, output: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """``feedbackloop up``, with what it says in ``output``."""
    environment = dict(os.environ) | environment_of(settings) | SURROUNDINGS
    with output.open("wb") as said:
        up = subprocess.Popen(
            [*COMMAND, "up"], cwd=output.parent, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        yield up
    finally:
        up.send_signal(signal.SIGTERM)
        try:
            up.wait(30)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()


def fill(file: Path) -> None:
    """Take what is left of the disk."""
    with suppress(OSError), file.open("ab", buffering=0) as filler:
        while True:
            filler.write(b"\0" * BLOCK)
    with suppress(OSError), file.open("ab", buffering=0) as filler:  # and the last page
        while True:
            filler.write(b"\0" * 4096)


def chat(serving: str) -> int:
    """The status of one chat; 0 where nobody answers."""
    body = {"model": "champion", "messages": [{"role": "user", "content": "When is my interview?"}], "max_tokens": 16}
    try:
        return client().post(f"{serving}/v1/chat/completions", json=body, timeout=30).status_code
    except httpx.HTTPError:
        return 0


def pid_of(supervisor: int, process: str) -> int | None:
    """The process id of one of the supervisor's children."""
    for line in subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(supervisor)], capture_output=True, text=True).stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        if command.endswith(f" {process}"):
            return int(pid)
    return None


def nothing_outstanding(hub: str) -> bool:
    """Whether the hub answers and has stored all that the log holds."""
    if not lives(hub):
        return False
    with suppress(httpx.HTTPError, KeyError):
        status: dict[str, Any] = client().get(f"{hub}/v1/status", timeout=10).json()
        return not any(status["lag"].values())
    return False


def ids_on_the_log(settings: Settings) -> set[str]:
    """The id of every event there."""
    with closing(bus_of(settings)) as bus:
        return {str(event.event_id) for event in to_end(bus, TOPICS.values(), "full-disk")}


if __name__ == "__main__":
    main()
