"""Carries every topic into the warehouse, and what the warehouse has numbered back to the log: the hub's one writer.

Position and rows are one transaction of the warehouse. The tail of ``feedback.preferences`` is the publisher's only position.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from storage.errors import WarehouseError
from storage.events import Event, HubClaimed, Numbered, PairDrawn, PreferenceJoined, PreferenceRemoved, SequenceGap, Watermark, advance, now
from storage.warehouse.entries import Applied, Entry, Refusal
from storage.warehouse.rows import event_of
from storage.warehouse.warehouse import Warehouse
from streams import metrics
from streams.bus.lag import lag
from streams.bus.protocol import Bus, Logged, Partition, records_of
from streams.bus.quarantine import Batch, decoded, quarantined
from streams.bus.resume import PARTITION, resume
from streams.bus.topics import PAIRS, TOPICS
from streams.gc_pause import gc_paused
from streams.stations.contexts import HubContext

log = logging.getLogger(__name__)

GROUP = "sink"
PUBLISHER = "publisher"  # marks the last number it knows to be on the log, to look from there
BATCH = 1_000
TIMEOUT = 30.0
LOST_AFTER = timedelta(minutes=1)  # a pair without features is published again, when nothing else is waiting to be embedded
AT_ONCE = 100
MARK_EVERY = 1.0  # seconds
LOOK_EVERY = 0.25  # seconds between looks at the numbers' topic, where we and other hubs write
GATHER = 0.03  # seconds at most from one batch to the next while little comes: a transaction costs as much as a hundred events
SHARE = 1.5  # and no more than so many times what the batch before took: on the embedded log that is little

Listener = Callable[[Applied], None]


def build(context: HubContext) -> "Sink":
    """The station of the table's row."""
    return Sink(context.bus, context.warehouse, f"hub-{secrets.token_hex(4)}")


class Sink:
    """Applies the log to ``warehouse``; ``hub`` names this hub in its claim. The first :meth:`step` calls :meth:`start` where nobody has.

    ``listeners`` are called after each commit that stored something, in the sink's thread: they have to be quick.
    """

    def __init__(self, bus: Bus, warehouse: Warehouse, hub: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus, self._warehouse, self._hub, self._clock = bus, warehouse, hub, clock
        self.listeners: list[Listener] = []
        self.numbers = False  # whether this hub has claimed the numbering
        self._published = 0
        self._looked_for_lost = clock()
        self._again: dict[UUID, int] = {}
        self._after: dict[Partition, int] = {}
        self._refused: list[Event] = []  # quarantine events that the log has not taken yet
        self._unmarked: dict[str, dict[Partition, int]] = {}
        self._own: list[Entry] = []  # numbers on the log whose place there is not stored yet
        self._marked_at = self._looked_at = self._applied_at = clock()
        self._took = 0.0

    def start(self) -> None:
        """Catch up, claim the numbering under a higher epoch, and publish what is numbered above the topic's tail.

        Raises
        ------
        WarehouseError, OffsetLost
            Log and warehouse disagree about what was numbered, or the log is shorter; the message says to replay.
        """
        offsets, bounds = self._warehouse.offsets(), self._bus.bounds(list(TOPICS))
        self._after = {partition: offsets.get((partition.topic, partition.number), first - 1) for partition, (first, _) in bounds.items()}
        self._compare()
        # A hub that was killed may not have marked all that it had committed, and on a quiet topic nothing would come to mark it with.
        self._unmarked[GROUP] = {partition: offset for partition, offset in self._after.items() if offset >= 0}
        self._catch_up(self._ends())
        epoch = self._warehouse.epoch + 1
        (position,) = self._bus.publish(records_of([HubClaimed(source="product", epoch=epoch, hub=self._hub)]), timeout=TIMEOUT)
        # What an older hub published before our claim still holds, and so does what it read for that: a judgment that we met only after we
        # number would be numbered again. The claim itself is applied only after numbering has begun.
        self._catch_up(self._ends() | {PARTITION: position.offset})
        self._published = self._tail(position.offset).sequence
        self._warehouse.claim_epoch(epoch, published=self._published)
        self._publish_numbered()
        self.numbers = True
        log.info("hub %s numbers from %d under epoch %d", self._hub, self._warehouse.last_sequence + 1, epoch)

    def step(self, wait: float) -> None:
        """Apply the next batch, publish what it numbered, tell the listeners."""
        if not self.numbers:
            self.start()
        time.sleep(max(min(self._applied_at + min(GATHER, SHARE * self._took) - self._clock(), wait), 0))
        entries, own = self._read(wait)
        if entries or own:
            self._applied_at = self._clock()
            with gc_paused():
                self._apply(entries, own)
            self._took = self._clock() - self._applied_at
        self._publish_refused()
        self._publish_numbered()
        if self._unmarked and (not (entries or self._own) or self._clock() - self._marked_at >= MARK_EVERY):
            self._mark()
        if self._clock() - self._looked_for_lost >= LOST_AFTER.total_seconds() / 4:
            self._looked_for_lost = self._clock()
            self._meet_new_partitions()
            self._publish_lost_pairs()

    def close(self) -> None:
        """Every step is one transaction; only the marks are behind."""
        self._mark()

    def _read(self, wait: float) -> tuple[list[Logged], list[Entry]]:
        """The next batch, and those of our own numbers to store the place of with it. Both topic and places can wait until there is more
        of them: each judgment would cost two transactions."""
        if self._own:
            wait = min(wait, max(self._looked_at + LOOK_EVERY - self._clock(), 0))
        others = {partition: offset for partition, offset in self._after.items() if partition != PARTITION}
        entries = self._bus.read(others, limit=BATCH, wait=min(wait, MARK_EVERY) if self._unmarked else wait)
        if wait and self._clock() - self._looked_at < LOOK_EVERY:
            return entries, []
        self._looked_at = self._clock()
        return [*entries, *self._bus.read({PARTITION: self._after[PARTITION]}, limit=BATCH, wait=0)], self._own

    def _apply(self, entries: Sequence[Logged], own: Sequence[Entry] = ()) -> None:
        batch = decoded(entries, GROUP)
        if batch.unreadable:  # before their offsets move on, so that none is lost; a second time is the same event
            self._bus.publish(records_of(batch.unreadable), timeout=TIMEOUT)
        applied = self._warehouse.apply([*own, *batch.entries])
        upto = {partition: offset for partition, offset, _ in own} | batch.upto
        self._after.update(upto)
        self._unmarked.setdefault(GROUP, {}).update(upto)
        self._own = self._own[len(own) :]
        self._refused += self._set_aside(applied.refused, batch)
        try:
            self._publish_refused()
            if applied.numbered and applied.numbered[0].sequence == self._published + 1:
                self._publish(applied.numbered)
        finally:  # it is committed, and is not told a second time, whether the log takes what follows from it or not
            metrics.reached(GROUP, applied.stored)
            if applied.stored:
                for listener in self.listeners:
                    listener(applied)
        if batch.too_new:
            self._mark()
            raise batch.too_new

    def _publish_numbered(self) -> None:
        while self._published < self._warehouse.last_sequence:
            numbered = self._warehouse.preferences_after(self._published, BATCH)
            if not numbered:
                raise WarehouseError(f"numbers above {self._published} are missing in the warehouse; rebuild it with 'feedbackloop replay'")
            self._publish(numbered)

    def _publish(self, numbered: Sequence[Numbered]) -> None:
        offsets = [position.offset for position in self._bus.publish(records_of(numbered), timeout=TIMEOUT)]
        self._published = numbered[-1].sequence
        self._unmarked[PUBLISHER] = {PARTITION: offsets[-1]}
        if offsets[-1] == self._after[PARTITION] + len(offsets):  # nothing of another hub between: none of it has to be read
            self._after[PARTITION] = offsets[-1]
            self._own += [(PARTITION, offset, event) for offset, event in zip(offsets, numbered, strict=True)]

    def _mark(self) -> None:
        """Now and then: the marks cost as much as a batch, and only the pace of imports, the status and the next start look at them."""
        for reader, upto in self._unmarked.items():
            self._bus.mark(reader, upto)
        self._unmarked.clear()
        self._marked_at = self._clock()

    def _compare(self) -> None:
        """Is this the log that the warehouse was filled from? Its last number there has to be the same entry here."""
        self._bus.read(self._after, limit=1, wait=0)  # raises OffsetLost where the log is shorter
        offset = self._after[PARTITION]
        if offset < 0:
            return
        (entry,) = self._bus.read({PARTITION: offset - 1}, limit=1, wait=0)
        batch = decoded([entry], GROUP)
        if batch.too_new:
            raise batch.too_new
        _, _, event = batch.entries[0]
        if isinstance(event, PreferenceJoined | PreferenceRemoved) and event.epoch >= self._warehouse.epoch:
            here = self._warehouse.preferences_after(event.sequence - 1, 1)
            if not here or here[0].event_id != event.event_id:
                raise WarehouseError(
                    f"number {event.sequence} on feedback.preferences is another entry than in the warehouse: this is not the log that it"
                    " was filled from; name the right one, or rebuild the warehouse with 'feedbackloop replay'"
                )

    def _meet_new_partitions(self) -> None:
        """Read also what 'topics create' has added while this hub runs."""
        for partition, (first, _) in self._bus.bounds(list(TOPICS)).items():
            self._after.setdefault(partition, first - 1)

    def _ends(self) -> dict[Partition, int]:
        return {partition: following for partition, (_, following) in self._bus.bounds(list(TOPICS)).items()}

    def _catch_up(self, upto: Mapping[Partition, int]) -> None:
        """Apply what is below these offsets."""
        while missing := {p: self._after[p] for p, following in upto.items() if self._after[p] + 1 < following}:
            found = self._bus.read(missing, limit=BATCH, wait=0)
            entries = [entry for entry in found if entry.offset < upto[entry.partition]]
            if not entries:  # nothing below is left: a log with holes
                return
            self._apply(entries)

    def _tail(self, below: int) -> Watermark:
        """The last number on the log below an offset, from the publisher's mark on; from the log's start where the mark misleads."""
        offset, watermark = resume(self._bus, PUBLISHER)
        if offset >= below:  # the mark of another hub, which has gone on
            offset, watermark = -1, Watermark()
        try:
            return self._folded(offset, watermark, below)
        except SequenceGap:
            pass
        try:
            return self._folded(-1, Watermark(), below)
        except SequenceGap as gap:
            raise WarehouseError(f"{gap}: the log has a hole; rebuild with 'feedbackloop replay'") from gap

    def _folded(self, offset: int, watermark: Watermark, below: int) -> Watermark:
        while offset + 1 < below:
            entries = self._bus.read({PARTITION: offset}, limit=BATCH, wait=0)
            for entry, event in decoded(entries, PUBLISHER).events:
                if entry.offset < below:
                    watermark, _ = advance(watermark, event)
            offset = entries[-1].offset
        return watermark

    def _publish_refused(self) -> None:
        if self._refused:
            self._bus.publish(records_of(self._refused), timeout=TIMEOUT)
            self._refused = []

    def _set_aside(self, refused: Sequence[Refusal], batch: Batch) -> list[Event]:
        """Quarantine what cannot become a row. A derived event's id says that it is the same event as before, and the first stands."""
        logged = {(entry.partition, entry.offset): entry for entry in batch.logged} if refused else {}
        bad: list[Event] = []
        for refusal in refused:
            partition, offset, event = refusal.entry
            if event.event_id.version == 5:
                log.info("%s %s is on the log again: %s", event.kind, event.event_id, refusal.reason)
                continue
            bad.append(quarantined(logged[partition, offset], GROUP, refusal.reason))
        return bad

    def _publish_lost_pairs(self) -> None:
        """Publish pairs again whose features have not come, while embedding has nothing else to do; each time after a longer while."""
        if lag(self._bus, "embed", [PAIRS]):
            return
        rows = self._warehouse.query("pairs_without_features", {"before": now() - LOST_AFTER, "limit": AT_ONCE}).to_pylist()
        pairs = [event_of(PairDrawn, row) for row in rows]
        assert all(isinstance(pair, PairDrawn) for pair in pairs)
        due = [pair for pair in pairs if now() - pair.occurred_at >= LOST_AFTER * 2 ** self._again.get(pair.pair_id, 0)]
        self._again = {pair.pair_id: self._again.get(pair.pair_id, 0) for pair in pairs}
        for pair in due:
            self._again[pair.pair_id] += 1
        if due:
            log.warning("%d pairs have no features after %s; publishing them again", len(due), LOST_AFTER)
            self._bus.publish(records_of(due), timeout=TIMEOUT)
