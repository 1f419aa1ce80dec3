"""Sends webhooks about model versions: new models, failed gates, promotions and rollbacks.

The notices come from the fold of ``models.versions`` in the warehouse, so an event without effect sends none. What has been sent is kept in
``webhooks.sqlite`` in the hub's home, by ids that derive from the events: a killed hub loses no notice, and sends each again at most.
"""

import logging
import threading
import time
from pathlib import Path
from time import monotonic

from storage.errors import trying_again
from storage.warehouse.entries import Applied
from storage.warehouse.warehouse import Warehouse
from streams.bus.lag import Ends, ends_of
from streams.bus.protocol import Bus
from streams.bus.topics import VERSIONS
from streams.evaluations import KINDS, TOPICS, RunArtifacts, lives_of
from streams.stations.contexts import HubContext
from streams.webhooks.deliveries import Deliveries
from streams.webhooks.notices import Notice, notices_of
from streams.webhooks.sender import Retrying, Sender
from streams.webhooks.settings import WebhookSettings
from streams.webhooks.signature import keys_of

log = logging.getLogger(__name__)

LOOK_EVERY = 15.0  # seconds, while an event has no effect: its report may arrive later
CATCH_UP_INTERVAL = 0.2  # seconds between looks whether the warehouse has the log's events
JOIN_TIMEOUT = 1.0  # seconds on close for attempts in flight; the process ends without them, and they are repeated


def build(context: HubContext) -> "Webhooks":
    """The station of the table's row."""
    return Webhooks(
        context.bus, context.warehouse, RunArtifacts(context.artifacts), context.webhooks, context.home / "webhooks.sqlite", context.stop
    )


class Webhooks:
    """Adds the notices of new events to the deliveries of each endpoint; a thread for each endpoint sends them."""

    def __init__(
        self,
        bus: Bus,
        warehouse: Warehouse,
        run_artifacts: RunArtifacts,
        settings: WebhookSettings,
        path: Path,
        stop: threading.Event,
        retrying: Retrying = Retrying(),
    ) -> None:
        self._bus, self._warehouse, self._run_artifacts, self._stop = bus, warehouse, run_artifacts, stop
        self._settings, self._path, self._retrying = settings, path, retrying
        self._woken = threading.Event()
        self._woken.set()
        self._looked_at = monotonic()
        self._unsettled = False  # whether some event had no effect
        self._ends: Ends | None = None  # of the log when the station started
        self._deliveries: Deliveries | None = None
        self._senders: dict[str, Sender] = {}

    def wake_for(self, applied: Applied) -> None:
        if any(isinstance(event, KINDS) for event in applied.stored):
            self._woken.set()

    def step(self, wait: float) -> None:
        if not self._settings.endpoints:
            self._stop.wait(wait)
            return
        with trying_again():
            deliveries = self._deliveries or self._open()
        due = self._unsettled and monotonic() - self._looked_at > LOOK_EVERY
        if not (self._woken.wait(wait) or due) or self._stop.is_set():
            return
        self._woken.clear()
        if not self._caught_up():
            self._woken.set()
            self._stop.wait(min(wait, CATCH_UP_INTERVAL))
            return
        self._looked_at = monotonic()
        notices = self._notices()
        for name, endpoint in self._settings.endpoints.items():
            with trying_again():
                added = deliveries.add(name, notices, endpoint.kinds, time.time())
            if added:
                self._senders[name].wake()

    def close(self) -> None:
        """Stop the senders; what is not delivered is sent after the next start."""
        for sender in self._senders.values():
            sender.stop()
        if all(sender.join(JOIN_TIMEOUT) for sender in self._senders.values()) and self._deliveries is not None:
            self._deliveries.close()

    def _open(self) -> Deliveries:
        self._ends = ends_of(self._bus, TOPICS)
        self._deliveries = Deliveries(self._path)
        for name, endpoint in self._settings.endpoints.items():
            sender = Sender(name, endpoint.url, keys_of(self._settings.secrets[name]), self._deliveries, self._retrying)
            self._senders[name] = sender
            sender.start()
        return self._deliveries

    def _caught_up(self) -> bool:
        """Whether the warehouse has what the log held at the start: a new endpoint gets only what happens after it was added."""
        return self._ends is None or self._ends.reached_by(self._warehouse.offsets())

    def _notices(self) -> list[Notice]:
        events = self._warehouse.events(*KINDS)
        with trying_again():
            life = lives_of(events, self._run_artifacts)
        without_effect = {each.event.event_id for each in life.illegal}
        self._unsettled = bool(without_effect)
        return list(notices_of(event for event in events if isinstance(event, VERSIONS.kinds) and event.event_id not in without_effect))
