"""The hub's consumers, as listed in the table of consumers, each in a thread.

``dashboard.hub`` starts them beside the API and the pages, and registers its listeners with the sink.
"""

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from storage.artifacts import Artifacts
from storage.attestation.settings import AttestationSettings
from storage.errors import FeedbackLoopError
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Warehouse
from streams import metrics
from streams.attestation.attestor import Attestor
from streams.bus.lag import lag
from streams.bus.protocol import Bus
from streams.gc_pause import ScheduledFullCollections
from streams.health import Check
from streams.stations.contexts import HubContext
from streams.stations.coordinator import Coordinator
from streams.stations.erasure import Erasure
from streams.stations.retention_settings import RetentionSettings
from streams.stations.runner import Runner
from streams.stations.sink import GROUP, Listener, Sink
from streams.stations.table import consumer, consumers_of
from streams.webhooks.settings import WebhookSettings


class HubStreams:
    """Runs the hub's consumers on ``warehouse``, which this process must own."""

    def __init__(
        self,
        bus: Bus,
        warehouse: Warehouse,
        artifacts: Artifacts,
        home: Path,
        attestation: AttestationSettings = AttestationSettings(),
        webhooks: WebhookSettings = WebhookSettings(),
        texts: Texts = PLAIN,
        retention: RetentionSettings = RetentionSettings(),
    ) -> None:
        self._stop, self._texts = threading.Event(), texts
        self._runner = Runner(self._stop)
        self.attestor = Attestor(artifacts, home, attestation)
        context = HubContext(bus, warehouse, artifacts, home, self._stop, self.attestor, webhooks, texts, retention)
        self._stations = {row.name: row.build(context) for row in consumers_of("hub")}
        self.sink: Sink = self._stations["sink"]
        self.coordinator: Coordinator = self._stations["coordinator"]
        self.erasure: Erasure = self._stations["erasure"]
        self.sink.listeners += [station.wake_for for station in self._stations.values() if hasattr(station, "wake_for")]
        metrics.reader_lag(GROUP, lambda: lag(bus, GROUP, consumer("sink").topics))
        metrics.waiting_judgments(lambda: warehouse.waiting)

    @property
    def listeners(self) -> list[Listener]:
        """Called after each commit that stored or dropped something; set before :meth:`start`."""
        return self.sink.listeners

    @property
    def checks(self) -> Mapping[str, Check]:
        """For the health router: why a consumer stopped, whether preferences are numbered, why a promotion has no record, and why the keys
        of sealed texts cannot be used.
        """
        stopped = {group: partial(self._runner.problems.get, group) for group in self._stations}
        keys = {"text keys": lambda: self._texts.keys_problem}
        return {**stopped, "numbering": self._not_numbering, "attestation": lambda: self.attestor.problem, **keys}

    @property
    def crashed(self) -> threading.Event:
        """Set when a consumer cannot continue: the process should end and be restarted."""
        return self._runner.crashed

    @property
    def failure(self) -> FeedbackLoopError | None:
        """The error that the process should end with, once ``crashed`` is set."""
        return self._runner.failure

    def start(self) -> None:
        self.attestor.prepare()
        for group, station in self._stations.items():
            self._runner.start(group, partial(_identity, station))
        self._runner.start("collections", lambda: ScheduledFullCollections(self._stop))

    def stop(self, timeout: float = 4.0) -> bool:
        """Let the consumers finish their current step; False if one has not after ``timeout`` seconds."""
        self._stop.set()
        self.coordinator.wake()
        return self._runner.join(timeout)

    def _not_numbering(self) -> str | None:
        return None if self.sink.numbers else self._runner.retrying.get("sink", "the hub is catching up with the log")


def _identity(station: Any) -> Any:
    return station
