"""Thumbs accepted per second, each durable before it is acknowledged: our serving against a bare FastAPI route that commits one row.

Both write to SQLite with WAL and ``synchronous=FULL``, over the same number of keep-alive connections, in turn.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson

from benchmarks.figures import Figure
from benchmarks.gateway.load import rate_of
from benchmarks.gateway.rounds import over_rounds
from benchmarks.gateway.servers import asgi, cpu_seconds, server
from benchmarks.policy.paired import speed_ratio
from benchmarks.processes import Process, on_log
from storage.events import new_id

CONNECTIONS = 32
PATH = "/v1/feedback"


def figures(quick: bool) -> Iterator[Figure]:
    """The row ``feedback``."""
    rounds, seconds = (3, 3.0) if quick else (10, 10.0)
    rates: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        bare = running.enter_context(server(asgi("bare_app"), folder / "bare.log", {"DATABASE": str(folder / "bare.sqlite")}))
        settings = on_log(folder).with_values(upstream={"url": f"{bare.url}/v1", "model": "none"})  # no chat: no model to load
        ours = running.enter_context(Process("serving", settings))
        sides = {"ours": (ours.url, ours.pid), "bare": (bare.url, bare.pid)}
        for url, _ in sides.values():
            rate_of(f"{url}{PATH}", thumb, CONNECTIONS, 1.0)  # warm-up
        for _ in range(rounds):
            for side, (url, pid) in sides.items():
                before = cpu_seconds(pid)
                rates[side].append(rate_of(f"{url}{PATH}", thumb, CONNECTIONS, seconds))
                cpu[side].append(1000 * (cpu_seconds(pid) - before) / (rates[side][-1] * seconds))
    slower = {side: [1 / rate for rate in found] for side, found in rates.items()}
    yield speed_ratio("feedback_ratio", slower["ours"], slower["bare"], ">=.8", f"thumbs/s, ours / bare, {CONNECTIONS} connections")
    for side in sides:
        yield over_rounds(f"feedback_{side}_per_s", rates[side], "thumbs/s, median round")
        yield over_rounds(f"feedback_{side}_cpu_ms", cpu[side], "ms of CPU a thumb, median round")


def thumb(number: int) -> bytes:
    """The body of a thumb by one of twenty recruiters."""
    return orjson.dumps({"type": "thumb", "recruiter": f"recruiter-{number % 20}", "thumb": "up", "reply_id": str(new_id())})
