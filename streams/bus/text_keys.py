"""The keys of sealed texts on a compacted topic of Kafka, by which processes on several machines share them.

A value is a key, wrapped (AES-256-GCM) under a secret of the installation that is not on Kafka; an empty value destroys it. Each process
that opens texts folds the topic into memory. A publisher with an outbox stores its new keys beside it first, so that nobody waits for
Kafka; the outbox sends them before the texts (:meth:`TopicTextKeys.flush`).
"""

import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from storage.errors import ConfigurationError, FeedbackLoopError, OffsetLost, Overloaded
from storage.texts.keys import SQLiteTextKeys
from storage.texts.sealed import TextKey
from streams.bus.protocol import Bus, Logged, Partition, Record
from streams.bus.scan import batches, beginning
from streams.bus.topics import TEXT_KEYS
from streams.bus.wrapped_keys import HeldKeys, Wrapping

log = logging.getLogger(__name__)

SEGMENT = timedelta(minutes=10)  # a segment is closed by the first record after it
COMPACTION_LAG = timedelta(hours=1)  # after which Kafka has to compact
TOMBSTONES_KEPT = timedelta(days=7)  # a reader that is away for longer may miss that a key was destroyed
CLEANING = timedelta(minutes=5)  # for the broker's cleaner to notice, to copy, and to delete the old files
POLL = 0.25  # seconds between reads of the topic
RETRY_AFTER = 1.0  # seconds after a failed read
TIMEOUT = 10.0  # seconds to wait for acknowledgements
BATCH = 1_000  # records published at a time
_DESTROYED = b""

Item = TypeVar("Item")


class TopicTextKeys:
    """The ``TextKeys`` on ``bus``; safe to use from several threads.

    Where a method has to ask Kafka it raises ``Overloaded`` while that does not answer, and ``ConfigurationError`` if the topic is missing
    or its keys are wrapped under another secret.

    Parameters
    ----------
    secret : the installation's, from which that for wrapping derives
    unsent : where new keys are stored until :meth:`flush`; None to wait for Kafka in :meth:`add`
    opens : whether texts are opened with it; otherwise it reads the topic from its present end on, and :meth:`get` never waits
    owns_bus : whether :meth:`close` closes the bus too
    """

    place = f"topic {TEXT_KEYS.name}"
    lingers = COMPACTION_LAG + CLEANING

    def __init__(
        self, bus: Bus, secret: bytes, unsent: SQLiteTextKeys | None = None, *, opens: bool = True, owns_bus: bool = False
    ) -> None:
        self._bus, self._unsent, self._opens, self._owns_bus = bus, unsent, opens, owns_bus
        self._wrapping = Wrapping(secret)
        self._reading = threading.Lock()
        self._sending = threading.Lock()
        self._read_at = time.time()  # when the end of the topic was reached last
        self._after: dict[Partition, int] | None = None
        self._is_checked = False
        self._closes: tuple[float, str] | None = None  # when to close the segment of the last tombstone, and its key
        self._last_logged = ""
        self.problem: str | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._start_over()

    def follow(self) -> "TopicTextKeys":
        """Start to read the topic in a thread, so that destroyed keys are forgotten at once; for processes that go on."""
        self._thread = threading.Thread(target=self._follow, name="text keys", daemon=True)
        self._thread.start()
        return self

    def add(self, keys: Sequence[TextKey]) -> None:
        if self._unsent is not None:
            self._unsent.add(keys)
        else:
            self._send(keys, TIMEOUT)
        self._held.put(keys)

    def flush(self, timeout: float) -> None:
        """Publish new keys and wait until Kafka has them. Nothing sealed under them may be published before.

        A key leaves ``unsent`` before any text under it is on the log. So one that is sent again after a crash cannot have been destroyed
        meanwhile: no erasure can know it.
        """
        if self._unsent is None:
            return
        with self._sending:
            keys = self._unsent.all()
            if keys:
                self._send(keys, timeout)
                self._unsent.destroy([key.kid for key in keys])

    def get(self, kid: str) -> TextKey | None:
        secret = self._held.secret(kid)
        if secret is None and self._opens:  # the topic has every key before its text is anywhere
            self._catch_up()
            secret = self._held.secret(kid)
        return TextKey(kid, secret) if secret else None

    def missing(self, kids: Iterable[str]) -> set[str]:
        self._catch_up()
        return {kid for kid in kids if not self._held.secret(kid)}

    def destroy(self, kids: Collection[str]) -> None:
        """Publish a tombstone for each key that is there.

        Kafka compacts closed segments only, and only a later record closes one: :meth:`follow` publishes it when the time has come.
        """
        if not kids:
            return
        self.flush(TIMEOUT)
        there = sorted(set(kids) - self.missing(kids))
        for some in _parts(there):
            self._bus.publish([_tombstone(kid) for kid in some], timeout=TIMEOUT)
            self._held.put((kid, _DESTROYED) for kid in some)
        self._closes = time.monotonic() + SEGMENT.total_seconds() + 1, next(iter(kids))  # a hub that was killed before destroys them again

    def close(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)
        if self._unsent is not None:
            self._unsent.close()
        if self._owns_bus:
            self._bus.close()

    def _send(self, keys: Sequence[TextKey], timeout: float) -> None:
        self._check_secret()
        if self._after is None:  # the tombstones of these keys come after this position
            with self._reading:
                self._position()
        for some in _parts(keys):
            self._bus.publish([Record(TEXT_KEYS.name, key.kid.encode(), self._wrapping.wrapped(key)) for key in some], timeout=timeout)

    def _catch_up(self) -> None:
        """Read the topic to its present end."""
        with self._reading:
            if time.time() - self._read_at > TOMBSTONES_KEPT.total_seconds() / 2:
                self._start_over()
            self._check_secret()
            after = self._position()
            try:
                for entries in batches(self._bus, after):
                    self._fold(entries)
                    after.update({entry.partition: entry.offset for entry in entries})
            except OffsetLost as error:
                self._start_over()
                raise Overloaded(f"{TEXT_KEYS.name} was made anew; reading it from the start") from error
            self._read_at = time.time()

    def _position(self) -> dict[Partition, int]:
        """The offsets read last."""
        if self._after is None:
            self._after = beginning(self._bus, [TEXT_KEYS.name]) if self._opens else _end(self._bus)
        return self._after

    def _start_over(self) -> None:
        self._held, self._after = HeldKeys(), None
        if self._unsent is not None:
            self._held.put(self._unsent.all())

    def _fold(self, entries: Sequence[Logged]) -> None:
        last = {_kid(entry): entry.value for entry in entries}
        secrets = {kid: self._wrapping.unwrapped(kid, value) if value else _DESTROYED for kid, value in last.items()}
        if unreadable := [kid for kid, secret in secrets.items() if secret is None]:
            log.warning(
                "%s: %d keys are wrapped under another secret or altered, and lost: %s …", self.place, len(unreadable), unreadable[0]
            )
        self._held.put((kid, secret or _DESTROYED) for kid, secret in secrets.items())

    def _check_secret(self) -> None:
        """Whose secret the keys on the topic are wrapped under, its first key says.

        Raises
        ------
        ConfigurationError
            It is not that of this process.
        """
        if self._is_checked:
            return
        read = batches(self._bus, beginning(self._bus, [TEXT_KEYS.name]))
        first = next((entry for entries in read for entry in entries if entry.value), None)
        if first is None:
            return
        if self._wrapping.unwrapped(_kid(first), first.value) is None:
            raise ConfigurationError(
                f"the keys of sealed texts on {TEXT_KEYS.name} are wrapped under another secret than that of this process; give all "
                "processes the same pseudonym_key (FEEDBACKLOOP_PSEUDONYM_KEY), such as the content of pseudonym.key in the hub's home"
            )
        self._is_checked = True

    def _follow(self) -> None:
        while not self._stopping.wait(POLL):
            try:
                self._catch_up()
                self._close_segment()
            except FeedbackLoopError as error:
                self.problem = str(error) if isinstance(error, ConfigurationError) else None
                self._log_once(f"the keys of sealed texts cannot be read: {error}")
                self._stopping.wait(RETRY_AFTER)
            except Exception as error:
                log.exception("following the keys of sealed texts failed")
                self._log_once(str(error))
                self._stopping.wait(RETRY_AFTER)
            else:
                self.problem, self._last_logged = None, ""

    def _close_segment(self) -> None:
        closes = self._closes
        if closes is not None and time.monotonic() >= closes[0]:
            self._bus.publish([_tombstone(closes[1])], timeout=TIMEOUT)
            if self._closes == closes:
                self._closes = None

    def _log_once(self, text: str) -> None:
        if text != self._last_logged:
            log.warning("%s; trying again", text)
            self._last_logged = text


def _kid(entry: Logged) -> str:
    return entry.key.decode("ascii", "replace")


def _tombstone(kid: str) -> Record:
    return Record(TEXT_KEYS.name, kid.encode(), _DESTROYED)


def _end(bus: Bus) -> dict[Partition, int]:
    return {partition: following - 1 for partition, (_, following) in bus.bounds([TEXT_KEYS.name]).items()}


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items, ``BATCH`` at a time."""
    return (items[at : at + BATCH] for at in range(0, len(items), BATCH))
