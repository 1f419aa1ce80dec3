"""What asking for keys costs: thumbs accepted per second by a serving process in required mode, over one in open mode.

Both commit each thumb durably before they acknowledge it, over the same number of keep-alive connections, in turn.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.gateway.feedback import CONNECTIONS, PATH, thumb
from benchmarks.gateway.load import rate_of
from benchmarks.gateway.rounds import over_rounds
from benchmarks.policy.paired import speed_ratio
from benchmarks.processes import Process, api_key, on_log
from storage.settings import Settings


def figures(quick: bool) -> Iterator[Figure]:
    """``auth_ratio``, and both rates."""
    rounds, seconds = (5, 2.0) if quick else (20, 5.0)
    rates: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        sides = {}
        for mode in ("open", "required"):
            settings = _settings(Path(name) / mode, mode)
            headers = {"Authorization": f"Bearer {api_key(settings, 'feedback')}"} if mode == "required" else {}
            sides[mode] = (running.enter_context(Process("serving", settings)).url, headers)
        for url, headers in sides.values():
            _rate(url, headers, 1.0)  # warm-up
        for _ in range(rounds):
            for mode, (url, headers) in sides.items():
                rates[mode].append(_rate(url, headers, seconds))
    slower = {mode: [1 / rate for rate in found] for mode, found in rates.items()}
    yield speed_ratio(
        "auth_ratio", slower["required"], slower["open"], ">=.8", f"thumbs/s, required / open mode, {CONNECTIONS} connections"
    )
    for mode, found in rates.items():
        yield over_rounds(f"feedback_{mode}_per_s", found, "thumbs/s, median round")


def _settings(home: Path, mode: str) -> Settings:
    access = {"mode": mode, "requests_per_minute": 10_000_000}
    return on_log(home).with_values(upstream={"url": "http://127.0.0.1:9/v1", "model": "none"}, access=access)  # no chat: no model to load


def _rate(url: str, headers: Mapping[str, str], seconds: float) -> float:
    return rate_of(f"{url}{PATH}", thumb, CONNECTIONS, seconds, headers)
