"""Freezes the data of requested runs, decides duels and promotes versions.

It reacts to ``training.requested``, ``ReviewDecided`` and new judgments in the hub, and decides from events stored in the warehouse only.
"""

import logging
import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from storage.artifacts import Artifacts
from storage.errors import trying_again
from storage.events import CanaryStarted, DatasetFrozen, DuelDecided, Event, ModelPromoted, ReplySent, Source, TrainingFailed, now
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Applied, Warehouse
from streams import evaluations, runs, versions
from streams.attestation.attestor import Attestor
from streams.bus.protocol import Bus, records_of
from streams.stations import duel, freeze
from streams.stations.contexts import HubContext
from streams.stations.sink import TIMEOUT

log = logging.getLogger(__name__)

RETRY_EVERY = 15.0  # seconds, in case an earlier publish failed

KINDS: tuple[type[Event], ...] = (*evaluations.KINDS, TrainingFailed)  # the life of versions, and of runs


def build(context: HubContext) -> "Coordinator":
    """The station of the table's row."""
    folder = context.home / "freezing"
    return Coordinator(context.bus, context.warehouse, context.artifacts, folder, context.stop, context.attestor, context.texts)


class Coordinator:
    """Runs after each commit that stored events of runs or versions, and every ``RETRY_EVERY`` seconds."""

    def __init__(
        self,
        bus: Bus,
        warehouse: Warehouse,
        artifacts: Artifacts,
        folder: Path,
        stop: threading.Event,
        attestor: Attestor,
        texts: Texts = PLAIN,
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # left by a hub that was killed while it froze
        self._attestor, self._texts = attestor, texts
        self._bus, self._warehouse, self._artifacts, self._folder, self._stop = bus, warehouse, artifacts, folder, stop
        self._woken = threading.Event()
        self._woken.set()
        self._updated_at = monotonic()
        self._fresh: deque[Event] = deque()  # stored since the last step
        self._events: list[Event] | None = None  # all events of KINDS
        self._run_artifacts = evaluations.RunArtifacts(artifacts)
        self._life = versions.Versions()
        self._runs: runs.Runs = runs.fold(())
        self.waiting: freeze.Shortage | None = None  # the requested run that lacks evidence
        self.on_waiting: Callable[[], None] = lambda: None  # called when it changes; set before the first step
        self._done: set[object] = set()  # published, but possibly not in the warehouse yet

    def wake(self) -> None:
        self._woken.set()

    def wake_for(self, applied: Applied) -> None:
        fresh = [event for event in applied.stored if isinstance(event, KINDS)]
        self._fresh.extend(fresh)
        if fresh or applied.numbered or (self.waiting and any(isinstance(event, ReplySent) for event in applied.stored)):
            self.wake()

    def step(self, wait: float) -> None:
        if self._stop.is_set() or not (self._woken.wait(wait) or monotonic() - self._updated_at > RETRY_EVERY):
            return
        self._woken.clear()
        self._updated_at = monotonic()
        life = self._update()
        self._publish(self._attested(life))
        decided = duel.next_event(life, self._warehouse, self._artifacts, self._texts, self._sources_of, now())
        if decided is not None and decided.event_id not in self._done:
            self._publish([decided])
            log.info(
                "%s of %s: %s", decided.kind, decided.version, decided.words if isinstance(decided, DuelDecided) else f"{decided.share:g}"
            )
        request = runs.next_to_freeze(self._runs)
        if request is None or request.run_id in self._done:
            self._wait_for(None)
            return
        with trying_again():
            found = freeze.freeze_next(self._runs, life, self._warehouse, self._artifacts, self._folder)
        self._wait_for(found if isinstance(found, freeze.Shortage) else None)
        if isinstance(found, DatasetFrozen):
            self._publish([found])
            self._done.add(request.run_id)
            log.info("run %s: snapshot %s frozen, requested through %d", request.run_id, found.snapshot[:12], request.through_sequence)

    def _wait_for(self, shortage: freeze.Shortage | None) -> None:
        if shortage == self.waiting:
            return
        self.waiting = shortage
        if shortage is not None:
            log.info("run %s: %s", shortage.run_id, shortage.words)
        self.on_waiting()

    def close(self) -> None:
        """No-op: whatever was not published is due again at the next start."""

    def _attested(self, life: versions.Versions) -> list[ModelPromoted]:
        """The next promotion that is due, with its record. One at a time: the next one's record is made when this one is folded."""
        due = [event for event in versions.promotions(life) if event.event_id not in self._done]
        with trying_again():
            attested = self._attestor.next_promotion(due, life, self._runs)
        return [] if attested is None else [attested]

    def _update(self) -> versions.Versions:
        """Fold the events stored since the last step, at first the whole warehouse; events that arrive both ways are idempotent."""
        if self._events is None:
            self._events = []
            self._fresh.extendleft(reversed(self._warehouse.events(*KINDS)))
        changed = bool(self._fresh)
        while self._fresh:
            self._events.append(self._fresh.popleft())
            self._runs = runs.step(self._runs, self._events[-1])
        if changed or self._life.illegal:  # a report that was missing before may be there now
            self._life = evaluations.lives_of(self._events, self._run_artifacts)
        return self._life

    def _sources_of(self, version: versions.Version) -> tuple[Source, ...]:
        request = self._runs[version.evaluated.run_id].request
        return request.sources if request is not None else ()

    def _publish(self, events: Sequence[ModelPromoted | DatasetFrozen | DuelDecided | CanaryStarted]) -> None:
        self._bus.publish(records_of(events), timeout=TIMEOUT)
        self._done.update(event.event_id for event in events)
