"""How long an erasure takes: the seconds from its entry on the log until rows and keys of a candidate are gone.

The candidate has ``CONVERSATIONS`` conversations in a warehouse of a million events.
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.filled_warehouse import fill
from storage.artifacts import Artifacts
from storage.events import Message, PersonErased, ReplySent, Sampling, now
from storage.texts.keys import FILE, SQLiteTextKeys
from storage.texts.sealed import Cipher, TextKey
from storage.texts.texts import Texts
from storage.warehouse.entries import Entry, Partition
from storage.warehouse.warehouse import Warehouse
from streams.stations.erasure import Erasure

CONVERSATIONS, EVENTS = 100, 1_000_000


def figures(quick: bool) -> Iterator[Figure]:
    """``erase_seconds``."""
    events = 20_000 if quick else EVENTS
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
        station = Erasure(warehouse, Artifacts(str(home / "artifacts")), Texts(store), threading.Event())
        station.step(0)
        started = time.perf_counter()
        erased = PersonErased.of("candidate", "c-erased", "request", now())
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
