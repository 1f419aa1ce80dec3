"""What access control costs, and how long an erasure takes.

Thumbs accepted per second by a serving process in required mode, over one in open mode: both commit each thumb durably before they
acknowledge it, over the same number of keep-alive connections, in turn. And the seconds from an erasure on the log until rows and keys of a
candidate with ``CONVERSATIONS`` conversations are gone from a warehouse of ``--events`` events.

``python -m benchmarks.access [--quick] [--events 1000000] --json FILE``
"""

import argparse
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, result, write
from benchmarks.filled_warehouse import fill
from benchmarks.gateway.feedback import CONNECTIONS, PATH, thumb
from benchmarks.gateway.load import rate_of
from benchmarks.gateway.rounds import over_rounds
from benchmarks.policy.paired import speed_ratio
from benchmarks.processes import Process, api_key, on_log
from storage.events import Message, PersonErased, ReplySent, Sampling
from storage.settings import Settings
from storage.texts.keys import FILE, SQLiteTextKeys
from storage.texts.sealed import Cipher, TextKey
from storage.texts.texts import Texts
from storage.warehouse.entries import Entry, Partition
from storage.warehouse.warehouse import Warehouse
from streams.stations.erasure import Erasure

CONVERSATIONS = 100
PACKAGES = ("fastapi", "uvicorn", "limits")


def figures(quick: bool, events: int) -> Iterator[Figure]:
    """``auth_ratio``, both rates, and ``erase_seconds``."""
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
    with tempfile.TemporaryDirectory() as name:
        taken = _erase_seconds(Path(name), events)
    yield Figure("erase_seconds", taken, None, None, f"s, {CONVERSATIONS} conversations in a warehouse of {events} events", "<=60")


def _erase_seconds(home: Path, events: int) -> float:
    fill(home / "warehouse.duckdb", events)
    keys = [TextKey.new() for _ in range(CONVERSATIONS)]
    store = SQLiteTextKeys(home / FILE)
    store.add(keys)
    replies = [_reply(number, Cipher(key)) for number, key in enumerate(keys)]
    with Warehouse.open(home / "warehouse.duckdb") as warehouse:
        entries: list[Entry] = [(Partition("chat.replies", 0), number, reply) for number, reply in enumerate(replies)]
        warehouse.claim_epoch(warehouse.epoch + 1, published=warehouse.last_sequence)
        warehouse.apply(entries)
        station = Erasure(warehouse, Texts(store), threading.Event())
        station.step(0)
        started = time.perf_counter()
        erased = PersonErased(source="product", what="candidate", name="c-erased")
        station.wake_for(warehouse.apply([(Partition("privacy.erasures", 0), 0, erased)]))
        station.step(0)
        taken = time.perf_counter() - started
        assert station.settled
        assert all(store.get(key.kid) is None for key in keys)
    return taken


def _reply(number: int, cipher: Cipher) -> ReplySent:
    """A sealed reply in the conversation of the filled warehouse's pair ``number``."""
    prompt = (Message(role="user", content=cipher.seal(b"Is the role still open?", "t")),)
    about: dict[str, Any] = {"candidate": "c-erased", "conversation_id": f"c-{number}", "stratum": "training", "source": "product"}
    return ReplySent(prompt=prompt, reply=cipher.seal(b"Yes.", "t"), version="base", sampling=Sampling(), **about)


def _settings(home: Path, mode: str) -> Settings:
    access = {"mode": mode, "requests_per_minute": 10_000_000}
    return on_log(home).with_values(upstream={"url": "http://127.0.0.1:9/v1", "model": "none"}, access=access)  # no chat: no model to load


def _rate(url: str, headers: Mapping[str, str], seconds: float) -> float:
    return rate_of(f"{url}{PATH}", thumb, CONNECTIONS, seconds, headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--events", type=int, default=20_000, help="events in the warehouse in which a candidate is erased")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    write(result("access", list(figures(arguments.quick, arguments.events)), PACKAGES), arguments.json)


if __name__ == "__main__":
    main()
