"""Ends what the section ``[retention]`` keeps for a time only, once a day.

It publishes ``PersonErased`` with the cause ``retention`` for each conversation and each record whose time is over. All else follows from
these events as from an erasure that somebody asked for: the sink deletes the rows, ``streams.stations.erasure`` destroys the keys.

Age is measured by this machine's clock and not by the newest event of the log: a period is one of the calendar, and has to end on a quiet
log too. A look waits until the warehouse has what is on the log, so that neither new activity nor an earlier erasure is missed.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice

from storage.events import PersonErased, now
from storage.warehouse.warehouse import Warehouse
from streams import metrics
from streams.bus.lag import Ends, ends_of
from streams.bus.protocol import Bus, records_of
from streams.bus.topics import ERASURES, INTERVENTIONS, JUDGMENTS, OUTCOMES, PAIRS, RATINGS, REPLIES
from streams.stations.contexts import HubContext
from streams.stations.retention_settings import RetentionSettings, below_minimum

log = logging.getLogger(__name__)

ENDING = (REPLIES, INTERVENTIONS, PAIRS, JUDGMENTS, RATINGS, OUTCOMES, ERASURES)  # what decides whether something ends
AT_A_TIME = 200  # conversations and records: deleting the rows of that many takes the sink a fraction of a second
PAUSE = timedelta(seconds=15)  # between looks while there is more, for the sink and the learner to go on
DAY = timedelta(days=1)
CATCH_UP_INTERVAL = 0.2  # seconds between looks whether the warehouse has the log's events
TIMEOUT = 30.0  # seconds to publish


def build(context: HubContext) -> "Retention":
    """The station of the table's row."""
    return Retention(context.bus, context.warehouse, context.retention, context.stop)


class Retention:
    """Looks at its start and a day after it found nothing more; ``clock`` gives the time in UTC."""

    def __init__(
        self, bus: Bus, warehouse: Warehouse, settings: RetentionSettings, stop: threading.Event, clock: Callable[[], datetime] = now
    ) -> None:
        self._bus, self._warehouse, self._settings, self._stop, self._clock = bus, warehouse, settings, stop, clock
        self._looked_at: datetime | None = None
        self._pause = PAUSE
        self._ends: Ends | None = None  # of the log when the look that is due began
        if (warning := below_minimum(settings)) is not None:
            log.warning(warning)

    def step(self, wait: float) -> None:
        if not self._due():
            self._stop.wait(wait)
            return
        self._ends = self._ends or ends_of(self._bus, ENDING)
        if not self._ends.reached_by(self._warehouse.offsets()):
            self._stop.wait(min(wait, CATCH_UP_INTERVAL))
            return
        self._ends = None
        moment = self._clock()
        over = list(islice(self._over(moment), AT_A_TIME))
        if over:
            self._bus.publish(records_of(over), timeout=TIMEOUT)
            for what in ("conversation", "record"):
                metrics.count_ended(what, sum(event.what == what for event in over))
            log.info("the time in [retention] is over for %d conversations and records", len(over))
        self._looked_at, self._pause = moment, PAUSE if over else DAY

    def close(self) -> None:
        """No-op: what was not published is found again at the next start."""

    def _due(self) -> bool:
        if self._settings == RetentionSettings():
            return False
        # A clock that was set back must not delay the next look.
        return self._looked_at is None or not timedelta(0) <= self._clock() - self._looked_at < self._pause

    def _over(self, moment: datetime) -> Iterator[PersonErased]:
        """What ends now: conversations, then records of decisions, then those of groups; at most ``AT_A_TIME`` of each."""
        if (days := self._settings.conversations_days) is not None:
            for name in self._names("conversations_overdue", moment - timedelta(days)):
                yield PersonErased.of("conversation", name, "retention", moment)
        if (days := self._settings.decisions_days) is not None:
            for query in ("decisions_overdue", "groups_overdue"):
                for name in self._names(query, moment - timedelta(days)):
                    yield PersonErased.of("record", name, "retention", moment)

    def _names(self, query: str, before: datetime) -> list[str]:
        names: list[str] = self._warehouse.query(query, {"before": before, "limit": AT_A_TIME})["name"].to_pylist()
        return names
