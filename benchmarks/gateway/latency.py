"""What a gateway adds to a chat's latency, at 100 requests a second to an upstream that answers at once.

Four sides in turn, in several rounds: the upstream asked directly; our serving with its defaults, so every reply is durable on the SQLite
log and gets a second response, which asks the upstream once more; a bare FastAPI pass-through with httpx; LiteLLM's proxy. Added latency
is a side's p99 less the p99 of the direct requests of the same round. A request's clock starts when it was due.

LiteLLM is the newest whose proxy can be installed, with one worker and no key or database.

The bare pass-through asks the upstream once a chat and writes nothing, so a ratio of two leaves our second request and the log about as
much time as one request costs in FastAPI and httpx.
"""

import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import orjson

from benchmarks.figures import Figure
from benchmarks.gateway.litellm_environment import CONFIG, SURROUNDINGS, litellm_command
from benchmarks.gateway.load import latencies_at
from benchmarks.gateway.rounds import over_rounds, ratio_of_means
from benchmarks.gateway.servers import asgi, cpu_seconds, server
from benchmarks.processes import Process, count, on_log, wait_for
from storage.settings import Settings
from streams.bus.open import bus_of
from streams.bus.topics import PAIRS, REPLIES

RATE = 100.0  # requests a second
PATH = "/chat/completions"
SETTLE = 1.0  # seconds between two sides, for second responses to be drawn
DRAIN_TIMEOUT = 60.0


def figures(quick: bool) -> Iterator[Figure]:
    """The row ``latency``."""
    rounds, seconds = (2, 2.0) if quick else (10, 10.0)
    p50: dict[str, list[float]] = defaultdict(list)
    p99: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        settings, sides = _sides(Path(name), running)
        for url, _ in sides.values():
            latencies_at(url, _body, RATE / 2, 2.0)  # warm-up
        for _ in range(rounds):
            for side, (url, pid) in sides.items():
                before = cpu_seconds(pid)
                found = 1000 * np.array(latencies_at(url, _body, RATE, seconds))
                time.sleep(SETTLE)
                cpu[side].append(1000 * (cpu_seconds(pid) - before) / len(found))
                p50[side].append(float(np.percentile(found, 50)))
                p99[side].append(float(np.percentile(found, 99)))
        paired = _pairs_for_replies(settings)
    added = {side: [a - b for a, b in zip(p99[side], p99["direct"], strict=True)] for side in sides}
    yield ratio_of_means("added_ratio_to_litellm", added["ours"], added["litellm"], "added p99, ours / LiteLLM", "<=1")
    yield ratio_of_means("added_ratio_to_bare", added["ours"], added["bare"], "added p99, ours / bare FastAPI", "<=2")
    yield Figure("latency_paired", paired, None, None, "pairs a reply")
    for side in sides:
        yield over_rounds(f"latency_{side}_p50_ms", p50[side], "ms, median round")
        yield over_rounds(f"latency_{side}_p99_ms", p99[side], "ms, median round")
        yield over_rounds(f"latency_{side}_cpu_ms", cpu[side], "ms of CPU a chat, median round")


def _sides(folder: Path, running: ExitStack) -> tuple[Settings, dict[str, tuple[str, int]]]:
    """The settings of ours, and each side's URL and process."""
    upstream = running.enter_context(server(asgi("instant_upstream"), folder / "upstream.log"))
    bare = running.enter_context(server(asgi("bare_app"), folder / "bare.log", {"UPSTREAM": upstream.url}))
    config = folder / "litellm.yaml"
    config.write_text(CONFIG.format(url=upstream.url), encoding="utf-8")
    litellm = running.enter_context(server(litellm_command(config), folder / "litellm.log", SURROUNDINGS, "/health/liveliness"))
    settings = on_log(folder).with_values(upstream={"url": f"{upstream.url}/v1", "model": "instant"})
    ours = running.enter_context(Process("serving", settings))
    return settings, {
        "direct": (f"{upstream.url}/v1{PATH}", upstream.pid),
        "ours": (f"{ours.url}/v1{PATH}", ours.pid),
        "bare": (f"{bare.url}/v1{PATH}", bare.pid),
        "litellm": (f"{litellm.url}/v1{PATH}", litellm.pid),
    }


def _body(number: int) -> bytes:
    asked = f"When is my interview, and how long does it take? I ask for application {time.monotonic_ns()}-{number}."
    return orjson.dumps({"model": "instant", "messages": [{"role": "user", "content": asked}]})


def _pairs_for_replies(settings: Settings) -> float:
    """How many pairs there are for each reply on the log, once all are drawn."""
    with contextlib.closing(bus_of(settings)) as bus:
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: count(bus, PAIRS.name) >= count(bus, REPLIES.name) or None, DRAIN_TIMEOUT, "all pairs are drawn")
        return count(bus, PAIRS.name) / count(bus, REPLIES.name)
