"""The embedded runner: a thread for each consumer of this process, which reads the bus, handles, publishes, and only then marks.

An exception from a handler is logged with its traceback, its event is quarantined, and processing continues. An error that needs an
operator (an event with a newer schema, a gap in the log) stops that one consumer, and its health check reports it. ``Overloaded`` is
retried. Any other temporary error (a warehouse that a full disk has invalidated until it is reopened) ends the process for a restart.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Protocol

from storage.errors import ConfigurationError, FeedbackLoopError, Overloaded, temporary_reason
from storage.events import Event
from streams import metrics
from streams.bus.protocol import Bus, Logged, Partition, records_of
from streams.bus.quarantine import Batch, decoded, quarantined
from streams.bus.scan import beginning
from streams.bus.topics import Topic
from streams.health import Check

log = logging.getLogger(__name__)

WAIT = 0.5  # seconds that a consumer waits on the bus before it checks for the stop signal
TIMEOUT = 30.0  # seconds to publish
OVERLOAD_BACKOFF = 1.0  # seconds before the retry after Overloaded

Handler = Callable[[Sequence[Event]], Sequence[Event]]


class Station(Protocol):
    """A consumer that works in steps: each reads available entries and makes its effect durable before it returns."""

    def step(self, wait: float) -> None: ...

    def close(self) -> None:
        """Called after the last step."""


class PushStation(Station, Protocol):
    """A station that can also be given entries instead of reading them itself, as a Faust agent needs it."""

    def handle(self, entries: Sequence[Logged]) -> None:
        """Process the entries; return when their effect is durable."""


class HandlerStation:
    """Runs a pure handler over a consumer group's topics, up to ``batch`` events at a time, at least ``gather`` seconds apart."""

    def __init__(self, bus: Bus, group: str, topics: Sequence[Topic], handler: Handler, *, batch: int, gather: float = 0.0) -> None:
        self._bus, self._group, self._handler, self._batch, self._gather = bus, group, handler, batch, gather
        self._after = position_of(bus, group, topics)
        self._handled_at = time.monotonic() - gather

    def step(self, wait: float) -> None:
        time.sleep(max(min(self._handled_at + self._gather - time.monotonic(), wait), 0))
        entries = self._bus.read(self._after, limit=self._batch, wait=wait)
        if entries:
            self.handle(entries)
            self._handled_at = time.monotonic()

    def handle(self, entries: Sequence[Logged]) -> None:
        """Handle the entries, publish the resulting events, and only then mark the entries."""
        batch = decoded(entries, self._group)
        produced = [*self._run_handler(batch), *batch.unreadable]
        self._bus.publish(records_of(produced), timeout=TIMEOUT)
        metrics.observe_latency(self._group, (event for _, event in batch.events))
        self._bus.mark(self._group, batch.upto)
        self._after.update(batch.upto)
        if batch.too_new:
            raise batch.too_new

    def close(self) -> None:
        """No-op: every step marks what it has done."""

    def _run_handler(self, batch: Batch) -> list[Event]:
        try:
            return list(self._handler([event for _, event in batch.events]))
        except (Overloaded, ConfigurationError):  # not the events' fault
            raise
        except Exception:
            log.exception("%s: a batch of %d events failed; retrying one by one", self._group, len(batch.events))
        produced: list[Event] = []
        for entry, event in batch.events:
            try:
                produced.extend(self._handler([event]))
            except (Overloaded, ConfigurationError):
                raise
            except Exception as error:
                log.exception("%s: quarantining %s %s", self._group, event.kind, event.event_id)
                produced.append(quarantined(entry, self._group, f"{type(error).__name__}: {error}"))
        return produced


class Every:
    """A station that runs ``action`` every ``seconds``."""

    def __init__(self, seconds: float, action: Callable[[], None], stop: threading.Event) -> None:
        self._seconds, self._action, self._stop = seconds, action, stop

    def step(self, wait: float) -> None:
        self._action()
        self._stop.wait(self._seconds)

    def close(self) -> None:
        pass


class Runner:
    """Runs stations in threads. ``crashed`` is set when one cannot continue in this process, which should then end.

    Attributes
    ----------
    problems : by station: why it stopped
    retrying : by station: the temporary error that it is retrying
    failure : the error to end the process with then; ``Overloaded`` if a later restart will help
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._threads: list[threading.Thread] = []
        self.problems: dict[str, str] = {}
        self.retrying: dict[str, str] = {}
        self.crashed = threading.Event()
        self.failure: FeedbackLoopError | None = None

    def start(self, name: str, build: Callable[[], Station]) -> None:
        """Build the station in its own thread and run it until ``stop`` is set."""
        thread = threading.Thread(target=self._run, args=(name, build), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def checks(self) -> Mapping[str, Check]:
        return {thread.name: self._check(thread.name) for thread in self._threads}

    def join(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for each thread, after ``stop`` was set; False if one has not ended."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def _check(self, name: str) -> Check:
        return lambda: self.problems.get(name) or self.retrying.get(name)

    def _run(self, name: str, build: Callable[[], Station]) -> None:
        station: Station | None = None
        try:
            while not self._stop.is_set():
                try:
                    station = station or build()
                    station.step(WAIT)
                    self.retrying.pop(name, None)
                except Overloaded as error:
                    self.retrying[name] = str(error)
                    log.warning("%s: %s", name, error)
                    self._stop.wait(OVERLOAD_BACKOFF)
            if station is not None:
                station.close()
        except Exception as error:  # noqa: BLE001  # failure_of logs it
            if isinstance(error, FeedbackLoopError) and temporary_reason(error) is None:
                log.error("%s stops: %s", name, error)
                self.problems[name] = str(error)
                return
            self.failure = failure_of(name, error)
            self.problems[name] = str(self.failure)
            self.crashed.set()
            self._stop.set()


def failure_of(name: str, error: BaseException) -> FeedbackLoopError:
    """The error to end the process with after station ``name`` raised ``error``; logged, with its traceback if it is unexpected."""
    if (reason := temporary_reason(error)) is not None:
        log.error("%s: %s", name, reason)
        return Overloaded(reason)
    if isinstance(error, FeedbackLoopError):
        log.error("%s: %s", name, error)
        return error
    log.error("%s crashed", name, exc_info=error)
    return FeedbackLoopError(f"{name} crashed: {type(error).__name__}: {error}")


def position_of(bus: Bus, group: str, topics: Sequence[Topic]) -> dict[Partition, int]:
    """Where the group resumes: at its marks, or before the first retained entry."""
    marked = bus.marked(group)
    return {partition: marked.get(partition, start) for partition, start in beginning(bus, [topic.name for topic in topics]).items()}


def stop_on_signals() -> threading.Event:
    """An event that is set on SIGTERM or SIGINT; call this from the main thread."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop
