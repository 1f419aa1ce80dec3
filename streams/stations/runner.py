"""The embedded runner: a thread for each consumer of this process, reading the bus, handling, publishing, and only then marking.

What a handler raises is logged whole and its event goes to quarantine; the stream goes on. What only an operator can mend (an event of a
newer program, a hole in the log) stops that one consumer, and its health says so. ``Overloaded`` is waited out. Any other temporary trouble
(a warehouse that a full disk has spoilt until it is opened again) ends the process, which says that it has to be started again.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Protocol

from storage.errors import FeedbackLoopError, Overloaded, temporary_reason
from storage.events import Event
from streams import metrics
from streams.bus.protocol import Bus, Logged, Partition, records_of
from streams.bus.quarantine import Batch, decoded, quarantined
from streams.bus.scan import beginning
from streams.bus.topics import Topic
from streams.health import Check

log = logging.getLogger(__name__)

WAIT = 0.5  # seconds that a consumer waits on the bus before it looks whether to stop
TIMEOUT = 30.0  # seconds to publish
CATCH_BREATH = 1.0  # seconds after the log was overloaded

Handler = Callable[[Sequence[Event]], Sequence[Event]]


class Station(Protocol):
    """Something that goes on step by step: reads what is there, and leaves its effect before it moves on."""

    def step(self, wait: float) -> None: ...

    def close(self) -> None:
        """Called after the last step."""


class Answering(Station, Protocol):
    """A station that can also be told of entries instead of reading them: what a Faust agent runs."""

    def answer(self, entries: Sequence[Logged]) -> None:
        """Return when the effect of these entries is durable."""


class HandlerStation:
    """Runs a pure handler over a consumer group's topics, ``batch`` events at a time, with ``gather`` seconds between two answers."""

    def __init__(self, bus: Bus, group: str, topics: Sequence[Topic], handler: Handler, *, batch: int, gather: float = 0.0) -> None:
        self._bus, self._group, self._handler, self._batch, self._gather = bus, group, handler, batch, gather
        self._after = position_of(bus, group, topics)
        self._answered_at = time.monotonic() - gather

    def step(self, wait: float) -> None:
        time.sleep(max(min(self._answered_at + self._gather - time.monotonic(), wait), 0))
        entries = self._bus.read(self._after, limit=self._batch, wait=wait)
        if entries:
            self.answer(entries)
            self._answered_at = time.monotonic()

    def answer(self, entries: Sequence[Logged]) -> None:
        """Handle the entries, publish what they lead to, and only then mark them."""
        batch = decoded(entries, self._group)
        made = [*self._handled(batch), *batch.unreadable]
        self._bus.publish(records_of(made), timeout=TIMEOUT)
        metrics.reached(self._group, (event for _, event in batch.events))
        self._bus.mark(self._group, batch.upto)
        self._after.update(batch.upto)
        if batch.too_new:
            raise batch.too_new

    def close(self) -> None:
        """Nothing is left to do: every step marks what it has done."""

    def _handled(self, batch: Batch) -> list[Event]:
        try:
            return list(self._handler([event for _, event in batch.events]))
        except Exception:
            log.exception("%s: a batch of %d could not be handled; going on one by one", self._group, len(batch.events))
        made: list[Event] = []
        for entry, event in batch.events:
            try:
                made.extend(self._handler([event]))
            except Exception as error:
                log.exception("%s: %s %s goes to quarantine", self._group, event.kind, event.event_id)
                made.append(quarantined(entry, self._group, f"{type(error).__name__}: {error}"))
        return made


class Every:
    """Runs something each ``seconds``; between, it only waits."""

    def __init__(self, seconds: float, action: Callable[[], None], stop: threading.Event) -> None:
        self._seconds, self._action, self._stop = seconds, action, stop

    def step(self, wait: float) -> None:
        self._action()
        self._stop.wait(self._seconds)

    def close(self) -> None:
        pass


class Runner:
    """Threads for stations, and what became of them. ``crashed`` is set when one cannot go on in this process, which should end.

    Attributes
    ----------
    failure : what the process should end with then: ``Overloaded`` where starting again later will do
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._threads: list[threading.Thread] = []
        self._problems: dict[str, str] = {}
        self.held_up: dict[str, str] = {}  # what a station waits for just now, and goes on by itself when it is there
        self.crashed = threading.Event()
        self.failure: FeedbackLoopError | None = None

    def start(self, name: str, build: Callable[[], Station]) -> None:
        """Build the station in its own thread and let it go on until the stop."""
        thread = threading.Thread(target=self._run, args=(name, build), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def checks(self) -> Mapping[str, Check]:
        return {thread.name: self._check(thread.name) for thread in self._threads}

    @property
    def problems(self) -> dict[str, str]:
        return dict(self._problems)

    def join(self, timeout: float) -> bool:
        """Wait for the threads after the stop; False when one has not ended."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def _check(self, name: str) -> Check:
        return lambda: self._problems.get(name) or self.held_up.get(name)

    def _run(self, name: str, build: Callable[[], Station]) -> None:
        station: Station | None = None
        try:
            while not self._stop.is_set():
                try:
                    station = station or build()
                    station.step(WAIT)
                    self.held_up.pop(name, None)
                except Overloaded as error:
                    self.held_up[name] = str(error)
                    log.warning("%s: %s", name, error)
                    self._stop.wait(CATCH_BREATH)
            if station is not None:
                station.close()
        except Exception as error:  # noqa: BLE001  # failure_of logs it
            if isinstance(error, FeedbackLoopError) and temporary_reason(error) is None:
                log.error("%s stops: %s", name, error)
                self._problems[name] = str(error)
                return
            self.failure = failure_of(name, error)
            self._problems[name] = str(self.failure)
            self.crashed.set()
            self._stop.set()


def failure_of(name: str, error: BaseException) -> FeedbackLoopError:
    """What a process ends with whose station ``name`` met ``error``; logged whole unless it will pass by itself."""
    if (reason := temporary_reason(error)) is not None:
        log.error("%s: %s", name, reason)
        return Overloaded(reason)
    if isinstance(error, FeedbackLoopError):
        log.error("%s: %s", name, error)
        return error
    log.error("%s crashed", name, exc_info=error)
    return FeedbackLoopError(f"{name} crashed: {type(error).__name__}: {error}")


def position_of(bus: Bus, group: str, topics: Sequence[Topic]) -> dict[Partition, int]:
    """Where the group goes on: after its marks, or at the first entry kept."""
    marked = bus.marked(group)
    return {partition: marked.get(partition, start) for partition, start in beginning(bus, [topic.name for topic in topics]).items()}


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM or SIGINT sets; call it from the main thread."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop
