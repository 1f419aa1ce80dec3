"""Erases a candidate, a recruiter or a conversation: publishes ``PersonErased`` and waits for what it sets off.

The event is the erasure. Rows and keys follow from it, also after a crash, so asking again only waits and reports.
"""

import time
from collections.abc import Callable
from datetime import timedelta

from access.caller import Caller, made_by
from dashboard.answers import ErasedVersion, Erasure
from storage.artifacts import Artifacts
from storage.events import Erasable, PersonErased, now
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Bus, records_of
from streams.client_events import IDENTIFIER, checked_as
from streams.erasure import erased_names, reconciled_after, trained_on
from streams.pseudonyms import pseudonym
from trainers.reward.online.settings import HeadSettings

TIMEOUT = 5.0  # seconds to wait for the log
WAIT = 5.0  # seconds to wait for rows and keys to be gone, before the answer that they are not yet
POLL = 0.05


class Erasures:
    """``key`` is that of the pseudonyms; ``settled`` says whether the keys of everything erased in the warehouse are destroyed.

    ``lingers`` is how long destroyed keys may stay on a disk.
    """

    def __init__(
        self,
        bus: Bus,
        warehouse: Warehouse,
        artifacts: Artifacts,
        key: bytes,
        head: HeadSettings,
        settled: Callable[[], bool],
        lingers: timedelta = timedelta(0),
    ) -> None:
        self._bus, self._warehouse, self._artifacts, self._key = bus, warehouse, artifacts, key
        self._head, self._settled, self._lingers = head, settled, lingers

    def erase(self, caller: Caller, what: Erasable, name: str) -> Erasure:
        """Erase ``name``, as the product calls them; idempotent.

        Raises
        ------
        NotAllowed
            The caller does not administer the service.
        InputRefused
            The name is none that a recruiter or a conversation can have.
        """
        caller.require("admin")
        stored = checked_as(IDENTIFIER, name, "name") if what == "conversation" else pseudonym(self._key, what, name)
        if not self._known(what, stored):
            event = PersonErased.of(what, stored, "request", now())
            self._bus.publish(records_of([event, *made_by(caller, event)]), timeout=TIMEOUT)
        deadline = time.monotonic() + WAIT
        while not (done := self._known(what, stored) and self._settled()) and time.monotonic() < deadline:
            time.sleep(POLL)
        return self._report(what, stored, done=done)

    def _known(self, what: Erasable, name: str) -> bool:
        return bool(self._warehouse.query("erasure", {"what": what, "name": name}).num_rows)

    def _report(self, what: Erasable, name: str, *, done: bool) -> Erasure:
        names = erased_names(self._warehouse)
        removed = [row["removed_by"] for row in self._warehouse.query("erased_preferences").to_pylist() if row["removed_by"]]
        return Erasure(
            done=done,
            what=what,
            name=name,
            conversations=len(names.names["conversation"]),
            replies=len(names.names["reply"]),
            pairs=len(names.names["pair"]),
            preferences=len(removed),
            forgotten_at=reconciled_after(max(removed), self._head) if removed else None,
            plain=len(names.names["plain"]),
            keys_linger=int(self._lingers.total_seconds()),
            versions=tuple(
                ErasedVersion(run_id=each.run_id, version=each.version, rows=each.rows)
                for each in trained_on(self._warehouse, self._artifacts, names)
            ),
        )
