"""A local outbox before Kafka: accepted events are durable on this machine's disk first and are sent to Kafka from there, in order.

A candidate's reply never waits for a broker. While Kafka is unreachable events are buffered up to a limit and refused beyond it. Sent
events are deleted about once a second, so the file grows only with the longest outage. A crash between sending and deleting repeats
events; readers deduplicate by id.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from storage.errors import ConfigurationError, Overloaded
from storage.home import held
from streams import metrics
from streams.bus.protocol import Bus, Partition, Position, Record
from streams.bus.scan import beginning
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import REPLIES, TOPICS

log = logging.getLogger(__name__)

BATCH = 500  # events in one request to Kafka
PRUNE_EVERY = 1.0  # seconds; deleting is a transaction that blocks publishers
LINGER = 0.02  # seconds between requests while a batch is not full: a request costs as much as a hundred events
RESERVED_FOR_REPLIES = 0.2  # share of the limit that only chat may use: candidates are still answered when feedback is refused
TIMEOUT = 30.0
RETRY_AFTER = 1.0  # seconds after a failed request
WAIT = 0.5
DRAIN_TIMEOUT = 3.0  # seconds on close to send what is waiting
JOIN_TIMEOUT = 2.0  # seconds on close for the request in flight


class Outbox:
    """The local log in ``path`` and a thread that forwards it to ``bus``; at most ``most`` bytes are buffered.

    ``send_first`` is called before each request, with the seconds that it may take: what it publishes is on the log before.

    Raises
    ------
    ConfigurationError
        Another process holds the file.
    """

    def __init__(self, path: Path, bus: Bus, *, most: int, send_first: Callable[[float], None] = lambda timeout: None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = ExitStack()
        self._lock.enter_context(held(path.with_suffix(".lock"), f"another process is using {path}; stop it or use another home"))
        self._bus, self._most, self._send_first = bus, most, send_first
        self._local = SQLiteBus(path)
        self._after = beginning(self._local, list(TOPICS))
        self._sent: dict[Partition, int] = {}  # offsets sent and not yet deleted here
        self._pruned_at = time.monotonic()
        self._guard = threading.Lock()
        self.waiting, self._bytes = self._local.size()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._forward, name="outbox", daemon=True)
        self._thread.start()
        metrics.local_log(lambda: self.waiting)

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        """Append to the local log; durable here on return, with its positions. ``Overloaded`` at the limit."""
        size = sum(len(record.value) for record in records)
        most = self._most if all(record.topic == REPLIES.name for record in records) else (1 - RESERVED_FOR_REPLIES) * self._most
        with self._guard:
            if self._bytes + size > most:
                raise Overloaded(
                    f"Kafka is not accepting events and the outbox is full: {self.waiting} events, {self._bytes / 2**20:.0f} MB"
                    " (limit: [kafka] outbox_mb); try again later",
                    retry_after=30,
                )
            self.waiting += len(records)
            self._bytes += size
        try:
            return self._local.publish(records, timeout=timeout)
        except Overloaded:
            with self._guard:
                self.waiting -= len(records)
                self._bytes -= size
            raise

    def close(self) -> None:
        """Drain for a few seconds; the rest stays on disk for the next start."""
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while self.waiting and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stopping.set()
        self._thread.join(JOIN_TIMEOUT)
        if self._thread.is_alive():  # blocked on an unreachable broker: it holds the file until the process ends
            return
        self._local.close()
        self._lock.close()

    def _forward(self) -> None:
        unreachable = False
        while not self._stopping.is_set():
            try:
                entries = self._local.read(self._after, limit=BATCH, wait=WAIT)
                if not entries or time.monotonic() - self._pruned_at >= PRUNE_EVERY:
                    self._prune()
            except Overloaded as error:  # this machine's disk is full: delete later
                log.warning("outbox: %s", error)
                self._stopping.wait(RETRY_AFTER)
                continue
            if not entries:
                continue
            try:
                self._send_first(TIMEOUT)
                self._bus.publish([Record(entry.partition.topic, entry.key, entry.value) for entry in entries], timeout=TIMEOUT)
            except (Overloaded, ConfigurationError) as error:
                if not unreachable:
                    log.warning("%s; buffering events in the outbox", error)
                unreachable = True
                self._stopping.wait(RETRY_AFTER)
                continue
            if unreachable:
                log.info("Kafka accepts events again; sending the outbox")
            unreachable = False
            upto: Mapping[Partition, int] = {entry.partition: entry.offset for entry in entries}
            self._sent.update(upto)
            self._after.update(upto)
            with self._guard:
                self.waiting -= len(entries)
                self._bytes -= sum(len(entry.value) for entry in entries)
            if len(entries) < BATCH:
                self._stopping.wait(LINGER)
        with suppress(Overloaded):  # otherwise the next start sends them again, and readers deduplicate
            self._prune()

    def _prune(self) -> None:
        if self._sent:
            self._local.prune(self._sent)
            self._sent = {}
        self._pruned_at = time.monotonic()
