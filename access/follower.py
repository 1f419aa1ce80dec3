"""Follows the topic ``access``, so that a change holds in every process within a second, and writes refusals to it."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from access.change_log import folded
from access.keys import AccessState
from access.memory import remember, remembered
from access.refusals import Refusals
from storage.errors import FeedbackLoopError, SchemaTooNew
from storage.events import AccessChanged, Event, RequestsRefused
from streams.bus.protocol import Bus, Outlet, Partition, records_of
from streams.bus.quarantine import decoded
from streams.bus.scan import beginning
from streams.bus.topics import ACCESS

log = logging.getLogger(__name__)

WAIT = 0.5  # seconds that a read of the log waits; bounds the delay of stop() and of refusals
RETRY_INTERVAL = 1.0  # seconds between attempts to read a log that is down
TIMEOUT = 5.0  # seconds to publish


class AccessFollower:
    """Who may call, as a thread reads it from ``bus``.

    Parameters
    ----------
    outlet : where refusals are published
    is_genuine : whether a trusted key has signed a change
    home : where the last state is remembered

    Attributes
    ----------
    state : None until the log has been read to the end that it had at start-up, or was found to be down while there is a memory
    """

    def __init__(self, bus: Bus, outlet: Outlet, is_genuine: Callable[[AccessChanged], bool], home: Path) -> None:
        self._bus, self._outlet, self._is_genuine, self._home = bus, outlet, is_genuine, home
        self.refusals = Refusals()
        self.state: AccessState | None = None
        self._folded = AccessState()
        self._after: dict[Partition, int] = {}
        self._end: dict[Partition, int] | None = None  # what has to be read before the state counts
        self._due: list[RequestsRefused] = []
        self._too_new: SchemaTooNew | None = None
        self._last_logged = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="access", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(5)

    def why_not_ready(self) -> str | None:
        """Why nobody can be let in yet, or why changes are not read any more; None otherwise."""
        if self._too_new is not None:
            return f"changes of access are not read any more: {self._too_new}"
        return None if self.state is not None else "who may call has not been read from the log yet"

    def record(self, event: Event) -> None:
        """Publish an event of the audit trail; raises :class:`Overloaded` if the log cannot be written."""
        self._outlet.publish(records_of([event]), timeout=TIMEOUT)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
                self._publish_refusals()
            except FeedbackLoopError as error:
                if self.state is None:
                    self.state = remembered(self._home)
                self._log_once(f"changes of access cannot be read or written: {error}")
                self._stopping.wait(RETRY_INTERVAL)
            except Exception as error:
                log.exception("following the changes of access failed")
                self._log_once(str(error))
                self._stopping.wait(RETRY_INTERVAL)
        with suppress(FeedbackLoopError):  # the log is down
            self._publish_refusals(last=True)

    def _read(self) -> None:
        if self._end is None:
            self._after = beginning(self._bus, [ACCESS.name])
            self._end = {partition: following - 1 for partition, (_, following) in self._bus.bounds([ACCESS.name]).items()}
        behind = any(self._after[partition] < last for partition, last in self._end.items())
        batch = decoded(self._bus.read(self._after, limit=1_000, wait=0 if behind else WAIT), "access")
        before = self._folded
        self._folded = folded((event for _, event in batch.events), self._is_genuine, before)
        self._after.update(batch.upto)
        for problem in self._folded.problems:
            if problem not in before.problems:
                log.warning("the topic access: %s", problem)
        self._too_new = batch.too_new
        if batch.too_new:
            raise batch.too_new
        if all(self._after[partition] >= last for partition, last in self._end.items()) and self.state != self._folded:
            self.state = self._folded
            remember(self._home, self._folded)

    def _publish_refusals(self, *, last: bool = False) -> None:
        self._due += self.refusals.due(last=last)
        if self._due:
            self._outlet.publish(records_of(self._due), timeout=TIMEOUT)
            self._due.clear()

    def _log_once(self, text: str) -> None:
        if text != self._last_logged:
            log.warning("%s; trying again", text)
            self._last_logged = text
