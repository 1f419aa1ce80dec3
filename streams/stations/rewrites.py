"""Draws the pair of a rewrite whose original a recruiter named by its id: the original beside the rewrite.

``ResponseEdited`` comes from the intake, with the judgment for the rewrite, which waits for this pair. The pair's id and content derive
from the rewrite and its original, so that drawing it again after a crash repeats the same event.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any
from uuid import UUID

import orjson

from storage.errors import TextLost
from storage.events import PairDrawn, ReplySent, Response, ResponseEdited, derived_id
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.entries import Applied
from storage.warehouse.warehouse import Warehouse
from streams.bus.lag import ends_of
from streams.bus.protocol import Bus, records_of
from streams.bus.topics import REPLIES
from streams.stations.contexts import HubContext

log = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds to publish
LOOK_EVERY = 1.0  # seconds between queries for rewrites that wait for their original
CATCH_UP = 5.0  # seconds to wait for replies that the log holds and the warehouse does not


def build(context: HubContext) -> "Rewrites":
    """The station of the table's row."""
    return Rewrites(context.bus, context.warehouse, context.stop, context.texts)


class Rewrites:
    """Runs after each commit that stored a rewrite, and while some wait, at most every ``LOOK_EVERY`` seconds if replies or pairs came."""

    def __init__(self, bus: Bus, warehouse: Warehouse, stop: threading.Event, texts: Texts = PLAIN) -> None:
        self._bus, self._warehouse, self._stop, self._texts = bus, warehouse, stop, texts
        self._edited, self._landed = threading.Event(), threading.Event()
        self._edited.set()  # look once at the start
        self._waiting = True  # whether some wait for their original
        self._looked_at = monotonic()
        self._drawn: set[UUID] = set()  # published, but possibly not in the warehouse yet

    def wake_for(self, applied: Applied) -> None:
        if any(isinstance(event, ResponseEdited) for event in applied.stored):
            self._edited.set()
        elif self._waiting and any(isinstance(event, ReplySent | PairDrawn) for event in applied.stored):
            self._landed.set()

    def step(self, wait: float) -> None:
        due = self._landed.is_set() and monotonic() - self._looked_at >= LOOK_EVERY
        if not (due or self._edited.wait(wait)) or self._stop.is_set():
            return
        self._edited.clear()
        self._landed.clear()
        self._looked_at = monotonic()
        rows = self._open()
        if any(row["original_text"] is not None and row["reply_id"] is None and row["original_pair"] is None for row in rows):
            # The conversation's last reply may still be on its way into the warehouse.
            known = {row["event_id"] for row in rows}
            if not self._caught_up():
                self._edited.set()
                return
            rows = [row for row in self._open() if row["event_id"] in known]
        found = [row for row in rows if row["original_text"] is not None and UUID(row["pair_id"]) not in self._drawn]
        self._waiting = len(found) < len(rows)
        pairs = [pair_of(row) for row in found]
        self._bus.publish(records_of(pairs), timeout=TIMEOUT)
        self._drawn = {UUID(row["pair_id"]) for row in rows} & (self._drawn | {pair.pair_id for pair in pairs})
        for pair in pairs:
            log.info("pair %s of a response and its rewrite", pair.pair_id)

    def close(self) -> None:
        """No-op: whatever was not published is due again at the next start."""

    def _open(self) -> Sequence[Mapping[str, Any]]:
        """The rows of the query, without rewrites that have the words of their original: they make no pair."""
        return [row for row in self._warehouse.query("edits_open").to_pylist() if not self._says_the_same(row)]

    def _says_the_same(self, row: Mapping[str, Any]) -> bool:
        original, edited = row["original_text"], row["edited"]
        try:
            return original is not None and self._texts.opened(original) == self._texts.opened(edited)
        except TextLost:
            return False

    def _caught_up(self) -> bool:
        """Wait until the warehouse has the replies that are on the log now; False if that takes longer than ``CATCH_UP``."""
        ends = ends_of(self._bus, (REPLIES,))
        deadline = monotonic() + CATCH_UP
        while not ends.reached_by(self._warehouse.offsets()):
            if monotonic() > deadline or self._stop.wait(0.02):
                return False
        return True


def pair_of(row: Mapping[str, Any]) -> PairDrawn:
    """The pair of a rewrite, from a row of the query ``edits_open`` with its original."""
    return PairDrawn(
        event_id=derived_id("PairDrawn", "rewrite", UUID(row["event_id"])),
        occurred_at=row["occurred_at"],
        source=row["source"],
        pair_id=UUID(row["pair_id"]),
        conversation_id=row["original_conversation"],
        prompt=orjson.loads(row["original_prompt"]),
        a=Response(text=row["original_text"], version=row["original_version"]),
        b=Response(text=row["edited"], version=row["recruiter"]),
        drawn="edited",
        probability=1.0,
        stratum=row["original_stratum"],
    )
