"""Writes every topic to the warehouse and publishes the preferences that the warehouse has numbered: the hub's only writer.

Offsets and rows are committed in one warehouse transaction. The publisher's only position is the tail of ``feedback.preferences``.
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
PUBLISHER = "publisher"  # marks the last number that it has published; a hint where to look for the tail
BATCH = 1_000
TIMEOUT = 30.0
LOST_AFTER = timedelta(minutes=1)  # a pair without features is published again, when nothing else is waiting to be embedded
LOST_BATCH = 100  # lost pairs published again at a time
MARK_EVERY = 1.0  # seconds
PREFERENCES_EVERY = 0.25  # seconds between reads of feedback.preferences, where this hub and others write
LINGER = 0.03  # seconds at most from one batch to the next: a transaction costs as much as a hundred events
LINGER_FACTOR = 1.5  # linger no longer than this many times the duration of the previous batch, which is short on the embedded log

Listener = Callable[[Applied], None]


def build(context: HubContext) -> "Sink":
    """The station for the table of consumers."""
    return Sink(context.bus, context.warehouse, f"hub-{secrets.token_hex(4)}")


class Sink:
    """Applies the log to ``warehouse``; ``hub`` is this hub's name in its claim. The first :meth:`step` calls :meth:`start` if needed.

    ``listeners`` are called after each commit that stored or dropped something, in the sink's thread, so they must be fast.
    """

    def __init__(self, bus: Bus, warehouse: Warehouse, hub: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus, self._warehouse, self._hub, self._clock = bus, warehouse, hub, clock
        self.listeners: list[Listener] = []
        self.numbers = False  # whether this hub has claimed the numbering
        self._published = 0
        self._lost_checked_at = clock()
        self._republished: dict[UUID, int] = {}
        self._after: dict[Partition, int] = {}
        self._refused: list[Event] = []  # quarantine events not published yet
        self._unmarked: dict[str, dict[Partition, int]] = {}
        self._own: list[Entry] = []  # preferences published by this hub whose offsets are not stored yet
        self._marked_at = self._preferences_read_at = self._applied_at = clock()
        self._took = 0.0

    def start(self) -> None:
        """Catch up, claim the numbering under a higher epoch, and publish what is numbered above the topic's tail.

        Raises
        ------
        WarehouseError, OffsetLost
            Log and warehouse disagree about what was numbered, or the log is shorter; the fix is a replay.
        """
        offsets, bounds = self._warehouse.offsets(), self._bus.bounds(list(TOPICS))
        self._after = {partition: offsets.get((partition.topic, partition.number), first - 1) for partition, (first, _) in bounds.items()}
        self._check_same_log()
        # A killed hub may have committed more than it marked, and on a quiet topic no later entry would trigger the mark.
        self._unmarked[GROUP] = {partition: offset for partition, offset in self._after.items() if offset >= 0}
        self._catch_up(self._ends())
        epoch = self._warehouse.epoch + 1
        (position,) = self._bus.publish(records_of([HubClaimed(source="product", epoch=epoch, hub=self._hub)]), timeout=TIMEOUT)
        # What an older hub published before our claim is valid. Apply it all before numbering, otherwise we would number those judgments
        # again. The claim itself is applied only after numbering has begun.
        self._catch_up(self._ends() | {PARTITION: position.offset})
        self._published = self._tail(position.offset).sequence
        self._warehouse.claim_epoch(epoch, published=self._published)
        self._publish_numbered()
        self.numbers = True
        log.info("hub %s: numbering from %d with epoch %d", self._hub, self._warehouse.last_sequence + 1, epoch)

    def step(self, wait: float) -> None:
        """Apply the next batch, publish the preferences that it numbered, and call the listeners."""
        if not self.numbers:
            self.start()
        time.sleep(max(min(self._applied_at + min(LINGER, LINGER_FACTOR * self._took) - self._clock(), wait), 0))
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
        if self._clock() - self._lost_checked_at >= LOST_AFTER.total_seconds() / 4:
            self._lost_checked_at = self._clock()
            self._add_new_partitions()
            self._publish_lost_pairs()

    def close(self) -> None:
        """Write the outstanding marks; everything else is committed by each step."""
        self._mark()

    def _read(self, wait: float) -> tuple[list[Logged], list[Entry]]:
        """The next batch, and published preferences whose offsets are to be stored with it.

        ``feedback.preferences`` is read, and those offsets are stored, only every ``PREFERENCES_EVERY`` seconds: otherwise each judgment
        would cost two transactions.
        """
        if self._own:
            wait = min(wait, max(self._preferences_read_at + PREFERENCES_EVERY - self._clock(), 0))
        others = {partition: offset for partition, offset in self._after.items() if partition != PARTITION}
        entries = self._bus.read(others, limit=BATCH, wait=min(wait, MARK_EVERY) if self._unmarked else wait)
        if wait and self._clock() - self._preferences_read_at < PREFERENCES_EVERY:
            return entries, []
        self._preferences_read_at = self._clock()
        return [*entries, *self._bus.read({PARTITION: self._after[PARTITION]}, limit=BATCH, wait=0)], self._own

    def _apply(self, entries: Sequence[Logged], own: Sequence[Entry] = ()) -> None:
        batch = decoded(entries, GROUP)
        if batch.unreadable:  # before their offsets are committed, so that none is lost; idempotent
            self._bus.publish(records_of(batch.unreadable), timeout=TIMEOUT)
        applied = self._warehouse.apply([*own, *batch.entries])
        upto = {partition: offset for partition, offset, _ in own} | batch.upto
        self._after.update(upto)
        self._unmarked.setdefault(GROUP, {}).update(upto)
        self._own = self._own[len(own) :]
        self._refused += self._quarantine(applied.refused, batch)
        try:
            self._publish_refused()
            if applied.numbered and applied.numbered[0].sequence == self._published + 1:
                self._publish(applied.numbered)
        finally:  # the batch is committed and is not delivered again, even if publishing failed
            metrics.observe_latency(GROUP, applied.stored)
            if applied.stored or applied.dropped:
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
        if offsets[-1] == self._after[PARTITION] + len(offsets):  # no entries of another hub in between: no need to read ours back
            self._after[PARTITION] = offsets[-1]
            self._own += [(PARTITION, offset, event) for offset, event in zip(offsets, numbered, strict=True)]

    def _mark(self) -> None:
        """Write the marks. They cost as much as a batch, and only import back-pressure, status and the next start read them."""
        for reader, upto in self._unmarked.items():
            self._bus.mark(reader, upto)
        self._unmarked.clear()
        self._marked_at = self._clock()

    def _check_same_log(self) -> None:
        """Check that the warehouse was filled from this log: the preference at the stored offset must be the same in both."""
        self._bus.read(self._after, limit=1, wait=0)  # raises OffsetLost if the log is shorter
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
                    f"number {event.sequence} on feedback.preferences differs from the warehouse, which was filled from another log;"
                    " use that log, or rebuild the warehouse with 'feedbackloop replay'"
                )

    def _add_new_partitions(self) -> None:
        """Also read partitions that 'topics create' has added while this hub runs."""
        for partition, (first, _) in self._bus.bounds(list(TOPICS)).items():
            self._after.setdefault(partition, first - 1)

    def _ends(self) -> dict[Partition, int]:
        return {partition: following for partition, (_, following) in self._bus.bounds(list(TOPICS)).items()}

    def _catch_up(self, upto: Mapping[Partition, int]) -> None:
        """Apply all entries below these offsets."""
        while missing := {p: self._after[p] for p, following in upto.items() if self._after[p] + 1 < following}:
            read = self._bus.read(missing, limit=BATCH, wait=0)
            entries = [entry for entry in read if entry.offset < upto[entry.partition]]
            if not entries:  # the remaining offsets are gaps
                return
            self._apply(entries)

    def _tail(self, below: int) -> Watermark:
        """The last number on the log below an offset, searched from the publisher's mark, or from the start if the mark is unusable."""
        offset, watermark = resume(self._bus, PUBLISHER)
        if offset >= below:  # the mark of another hub that is still publishing
            offset, watermark = -1, Watermark()
        try:
            return self._fold(offset, watermark, below)
        except SequenceGap:
            pass
        try:
            return self._fold(-1, Watermark(), below)
        except SequenceGap as gap:
            raise WarehouseError(f"{gap}: the log has a gap; rebuild with 'feedbackloop replay'") from gap

    def _fold(self, offset: int, watermark: Watermark, below: int) -> Watermark:
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

    def _quarantine(self, refused: Sequence[Refusal], batch: Batch) -> list[Event]:
        """Quarantine events that cannot become a row, except repeats of derived events (UUIDv5), of which the first counts."""
        logged = {(entry.partition, entry.offset): entry for entry in batch.logged} if refused else {}
        bad: list[Event] = []
        for refusal in refused:
            partition, offset, event = refusal.entry
            if event.event_id.version == 5:
                log.info("ignoring a repeat of %s %s: %s", event.kind, event.event_id, refusal.reason)
                continue
            bad.append(quarantined(logged[partition, offset], GROUP, refusal.reason))
        return bad

    def _publish_lost_pairs(self) -> None:
        """Republish pairs without features while the embedder is idle, with exponential backoff."""
        if lag(self._bus, "embed", [PAIRS]):
            return
        rows = self._warehouse.query("pairs_without_features", {"before": now() - LOST_AFTER, "limit": LOST_BATCH}).to_pylist()
        pairs = [event_of(PairDrawn, row) for row in rows]
        assert all(isinstance(pair, PairDrawn) for pair in pairs)
        due = [pair for pair in pairs if now() - pair.occurred_at >= LOST_AFTER * 2 ** self._republished.get(pair.pair_id, 0)]
        self._republished = {pair.pair_id: self._republished.get(pair.pair_id, 0) for pair in pairs}
        for pair in due:
            self._republished[pair.pair_id] += 1
        if due:
            log.warning("republishing %d pairs without features after %s", len(due), LOST_AFTER)
            self._bus.publish(records_of(due), timeout=TIMEOUT)
