"""The streams' side of the hub: the sink in one thread; freezing and promoting, which follow from what it stored, in another.

``dashboard.hub`` starts it beside the API and the pages, and hangs its listeners into the sink.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from storage.artifacts import Artifacts
from storage.errors import FeedbackLoopError, trying_again
from storage.events import DatasetFrozen, Event, ModelPromoted, TrainingFailed
from storage.warehouse.warehouse import Applied, Warehouse
from streams import evaluations, metrics, runs, versions
from streams.bus.lag import lag
from streams.bus.protocol import Bus, records_of
from streams.bus.topics import TOPICS
from streams.gc_pause import ScheduledFullCollections
from streams.health import Check
from streams.stations import freeze
from streams.stations.runner import Runner
from streams.stations.sink import GROUP, TIMEOUT, Listener, Sink

log = logging.getLogger(__name__)

LOOK_AGAIN = 15.0  # seconds, in case publishing failed when it was due

KINDS: tuple[type[Event], ...] = (*evaluations.KINDS, TrainingFailed)  # the life of versions, and of runs


class HubStreams:
    """Runs the hub's consumers on ``warehouse``, which this process owns."""

    def __init__(self, bus: Bus, warehouse: Warehouse, artifacts: Artifacts, home: Path) -> None:
        self._stop = threading.Event()
        self._runner = Runner(self._stop)
        self._numbering = threading.Event()
        self.sink = Sink(bus, warehouse, f"hub-{secrets.token_hex(4)}")
        self.desk = Desk(bus, warehouse, artifacts, home / "freezing", self._stop)
        self.sink.listeners.append(self.desk.wake_for)
        metrics.reader_lag(GROUP, lambda: lag(bus, GROUP, list(TOPICS.values())))
        metrics.waiting_judgments(lambda: warehouse.waiting)

    @property
    def listeners(self) -> list[Listener]:
        """Called after each commit that stored something; set before :meth:`start`."""
        return self.sink.listeners

    @property
    def checks(self) -> Mapping[str, Check]:
        """For the health router: whether the sink numbers, and what stopped a consumer."""
        return {
            "sink": lambda: self._runner.problems.get("sink"),
            "freeze": lambda: self._runner.problems.get("freeze"),
            "numbering": self._not_numbering,
        }

    @property
    def crashed(self) -> threading.Event:
        """Set when a consumer cannot go on: the process should end and be started again."""
        return self._runner.crashed

    @property
    def failure(self) -> FeedbackLoopError | None:
        """What the process should end with, once ``crashed`` is set."""
        return self._runner.failure

    def start(self) -> None:
        self._runner.start("sink", self._started_sink)
        self._runner.start("freeze", lambda: self.desk)
        self._runner.start("collections", lambda: ScheduledFullCollections(self._stop))

    def stop(self, timeout: float = 4.0) -> bool:
        """Let the consumers finish their step; False when one has not within ``timeout``."""
        self._stop.set()
        self.desk.wake()
        return self._runner.join(timeout)

    def _not_numbering(self) -> str | None:
        return None if self._numbering.is_set() else self._runner.held_up.get("sink", "the hub is catching up with the log")

    def _started_sink(self) -> Sink:
        self.sink.start()
        self._numbering.set()
        self.desk.wake()
        return self.sink


class Desk:
    """Acts on what the warehouse says is due: a snapshot to freeze, an approved version to promote."""

    def __init__(self, bus: Bus, warehouse: Warehouse, artifacts: Artifacts, folder: Path, stop: threading.Event) -> None:
        self._bus, self._warehouse, self._artifacts, self._folder, self._stop = bus, warehouse, artifacts, folder, stop
        self._woken = threading.Event()
        self._looked_at = monotonic()
        self._fresh: deque[Event] = deque()  # stored since the last look
        self._events: list[Event] | None = None  # of KINDS, all there are
        self._kept = evaluations.RunArtifacts(artifacts)
        self._life = versions.Versions()
        self._runs: runs.Runs = runs.fold(())
        self._done: set[object] = set()  # published, and perhaps not in the warehouse yet

    def wake(self) -> None:
        self._woken.set()

    def wake_for(self, applied: Applied) -> None:
        fresh = [event for event in applied.stored if isinstance(event, KINDS)]
        self._fresh.extend(fresh)
        if fresh or applied.numbered:
            self.wake()

    def step(self, wait: float) -> None:
        if self._stop.is_set() or not (self._woken.wait(wait) or monotonic() - self._looked_at > LOOK_AGAIN):
            return
        self._woken.clear()
        self._looked_at = monotonic()
        life = self._look()
        due = [event for event in versions.promotions(life) if event.event_id not in self._done]
        self._publish(due)
        request = runs.next_to_freeze(self._runs)
        if request is None or request.run_id in self._done:
            return
        with trying_again():
            frozen = freeze.freeze_next(self._runs, life, self._warehouse, self._artifacts, self._folder)
        if frozen is not None:
            self._publish([frozen])
            self._done.add(request.run_id)
            log.info("run %s: snapshot %s frozen through %d", request.run_id, frozen.snapshot[:12], request.through_sequence)

    def close(self) -> None:
        """Nothing is left to do: what was not published is due again at the next start."""

    def _look(self) -> versions.Versions:
        """Take in what was stored since the last look; at first, all there is. What comes both ways changes nothing the second time."""
        if self._events is None:
            self._events = []
            self._fresh.extendleft(reversed(self._warehouse.events(*KINDS)))
        changed = bool(self._fresh)
        while self._fresh:
            self._events.append(self._fresh.popleft())
            self._runs = runs.step(self._runs, self._events[-1])
        if changed or self._life.illegal:  # what was refused for want of its report may have it now
            self._life = evaluations.lives_of(self._events, self._kept)
        return self._life

    def _publish(self, events: list[ModelPromoted] | list[DatasetFrozen]) -> None:
        self._bus.publish(records_of(events), timeout=TIMEOUT)
        self._done.update(event.event_id for event in events)
