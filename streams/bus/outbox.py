"""Local first on Kafka: what a client was told is accepted lies on this machine's disk, and is carried to Kafka from there, in order.

A candidate's reply never waits for a broker. While Kafka is away events are kept up to a bound, and refused beyond it; what has arrived is
deleted here a second later, so the file is as large as the longest outage was. A crash between arriving and deleting repeats events, which
the readers recognise by their ids.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from storage.errors import Overloaded
from storage.home import held
from streams import metrics
from streams.bus.protocol import Bus, Partition, Position, Record
from streams.bus.scan import beginning
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import REPLIES, TOPICS

log = logging.getLogger(__name__)

AT_ONCE = 500
PRUNE_EVERY = 1.0  # seconds: deleting is a transaction, and those who publish wait for it
GATHER = 0.02  # seconds from one publishing to the next while little comes: each costs the broker and us as much as a hundred events
FOR_REPLIES = 0.2  # share of the bound that only chat may fill: candidates are answered when feedback is refused already
TIMEOUT = 30.0
AGAIN = 1.0  # seconds after Kafka took nothing
WAIT = 0.5
LAST_CHANCE = 3.0  # seconds that closing goes on carrying
PARTING = 2.0  # and seconds that what is on its way then may take


class Outbox:
    """The local log in ``path`` and a thread that carries it to ``bus``; ``most`` bytes may wait.

    Raises
    ------
    ConfigurationError
        Another process holds the file.
    """

    def __init__(self, path: Path, bus: Bus, *, most: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = ExitStack()
        self._lock.enter_context(held(path.with_suffix(".lock"), f"another process writes {path}; stop it or name another home"))
        self._bus, self._most = bus, most
        self._local = SQLiteBus(path)
        self._after = beginning(self._local, list(TOPICS))
        self._arrived: dict[Partition, int] = {}  # and is to be deleted here
        self._pruned_at = time.monotonic()
        self._guard = threading.Lock()
        self.waiting, self._bytes = self._local.size()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="outbox", daemon=True)
        self._thread.start()
        metrics.local_log(lambda: self.waiting)

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        """Durable here on return; the positions are those of the local log. ``Overloaded`` at the bound."""
        size = sum(len(record.value) for record in records)
        most = self._most if all(record.topic == REPLIES.name for record in records) else (1 - FOR_REPLIES) * self._most
        with self._guard:
            if self._bytes + size > most:
                raise Overloaded(
                    f"Kafka takes no events; {self.waiting} wait here, {self._bytes / 2**20:.0f} MB: as much as [kafka] outbox_mb"
                    " allows; try again later",
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
        """Carry what can be carried in a few seconds; the rest stays on the disk for the next start."""
        deadline = time.monotonic() + LAST_CHANCE
        while self.waiting and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stopping.set()
        self._thread.join(PARTING)
        if self._thread.is_alive():  # it waits for a broker that is away, and holds the file until the process ends
            return
        self._local.close()
        self._lock.close()

    def _carry(self) -> None:
        away = False
        while not self._stopping.is_set():
            try:
                entries = self._local.read(self._after, limit=AT_ONCE, wait=WAIT)
                if not entries or time.monotonic() - self._pruned_at >= PRUNE_EVERY:
                    self._prune()
            except Overloaded as error:  # this machine's disk is full: what has arrived is deleted later
                log.warning("the local log: %s", error)
                self._stopping.wait(AGAIN)
                continue
            if not entries:
                continue
            try:
                self._bus.publish([Record(entry.partition.topic, entry.key, entry.value) for entry in entries], timeout=TIMEOUT)
            except Overloaded as error:
                if not away:
                    log.warning("%s; events wait in the local log", error)
                away = True
                self._stopping.wait(AGAIN)
                continue
            if away:
                log.info("Kafka takes events again")
            away = False
            upto: Mapping[Partition, int] = {entry.partition: entry.offset for entry in entries}
            self._arrived.update(upto)
            self._after.update(upto)
            with self._guard:
                self.waiting -= len(entries)
                self._bytes -= sum(len(entry.value) for entry in entries)
            if len(entries) < AT_ONCE:
                self._stopping.wait(GATHER)
        with suppress(Overloaded):  # what has arrived is sent again at the next start, and recognised
            self._prune()

    def _prune(self) -> None:
        if self._arrived:
            self._local.prune(self._arrived)
            self._arrived = {}
        self._pruned_at = time.monotonic()
