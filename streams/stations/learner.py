"""The online reward head in the processor: learns preferences in the order of their sequence numbers and publishes updates of the weights.

Exactly once: weights and sequence number are checkpointed in one file, repeats are skipped, and a gap or an older checkpoint makes it
rewind the log. Reads ``feedback.preferences`` (from the hub's publisher), writes ``models.reward.updated`` (for trigger, serving and
dashboard).
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from storage.artifacts import Artifacts
from storage.errors import EventError, OffsetLost, trying_again
from storage.events import (
    EventQuarantined,
    Numbered,
    PreferenceJoined,
    RewardUpdated,
    SequenceGap,
    Source,
    Watermark,
    advance,
    derived_id,
    pack,
)
from storage.texts.texts import PLAIN, Texts
from streams import metrics
from streams.bus.kafka_settings import is_kafka
from streams.bus.lag import lag
from streams.bus.protocol import Bus, Logged, records_of
from streams.bus.quarantine import decoded, quarantined
from streams.bus.resume import PARTITION, resume
from streams.bus.topics import PREFERENCES
from streams.stations.background_refit import BackgroundRefit
from streams.stations.contexts import ProcessorContext
from streams.stations.head_checkpoints import HeadCheckpoints, last_update
from streams.stations.settings import RetrainingRule
from trainers.data.preference import Entry
from trainers.reward.online.learn import head_id, learn, learn_all, new_head
from trainers.reward.online.settings import HeadSettings

log = logging.getLogger(__name__)

BATCH = 500
BACKLOG_ENTRIES = 100  # a read of at least this many counts as a backlog; background reconciliations are then not throttled
INTERVAL = 0.1  # seconds between updates: at most 10 a second
BACKLOG_INTERVAL = 1.0  # seconds between updates in a backlog: ten checkpoints a second would take a fifth of the learning time
BACKLOG_WAIT = 0.02  # seconds to wait for more entries in a backlog; short, to publish soon after its end
SAVE_FACTOR = 2  # wait at least this many times the duration of a checkpoint, to leave half of the time for learning
MARK_EVERY = 1.0  # seconds; only the next start and the metrics use the mark, and on Kafka it is a request to the broker
CATCH_UP_INTERVAL = 5.0  # seconds between checkpoints while catching up, before anything is published
TIMEOUT = 30.0


def build(context: ProcessorContext) -> "Learner":
    """The station for the table of consumers."""
    settings = context.settings
    common = settings.common
    return Learner(
        context.bus,
        common.home / "learner",
        settings.section("learning", HeadSettings),
        embedding_hash=context.embedder.hash,
        dimension=context.embedder.dimension,
        sources=common.sources,
        every=settings.section("retraining", RetrainingRule).every,
        artifacts=Artifacts(common.artifacts_url) if is_kafka(common.bus_url) else None,  # on a single machine the local folder suffices
        texts=context.texts,
    )


class Learner:
    """One head, folded from number 1; publishes once it has caught up with the tail of the log at its start.

    At each multiple of ``every`` judgments it publishes an update, independently of batches, so that all workers that cross a threshold
    request the same run over the same data.
    """

    def __init__(
        self,
        bus: Bus,
        folder: Path,
        settings: HeadSettings,
        *,
        embedding_hash: str,
        dimension: int,
        sources: Sequence[Source],
        every: int | None = None,
        artifacts: Artifacts | None = None,
        texts: Texts = PLAIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus, self._every, self._texts, self._clock = bus, every, texts, clock
        self.head_id = head_id(settings, embedding_hash, sources)
        self._reader = f"learner-{self.head_id[:16]}"
        self._checkpoints = HeadCheckpoints(folder, self.head_id, artifacts)
        self.head = self._checkpoints.newest(bus) or new_head(settings, embedding_hash, dimension, sources)
        self._offset, self._watermark = resume(bus, self._reader)
        if self._watermark.sequence > self.head.sequence:
            self._offset, self._watermark = -1, Watermark()  # the checkpoint is older than the mark
        self._watermark = Watermark(self._watermark.epoch, self.head.sequence)
        self._numbered_at = -1  # offset of the last number learnt
        self._last = _number_at(bus, self._offset)  # the last number that this process has read, learnt before or now
        self._rewound_at: int | None = None  # sequence number of the last rewind
        self._taken: list[Numbered] = []  # since the last checkpoint
        self._backlog = False  # the last read returned at least BACKLOG_ENTRIES
        self._refit = BackgroundRefit()
        self._published = last_update(bus)
        self._tail_at_start = bus.bounds([PARTITION.topic])[PARTITION][1] - 1
        self._saved_sequence = self.head.sequence
        self._flushed_at, self._save_took = clock() - CATCH_UP_INTERVAL, 0.0
        self._saved_at = self._marked = -1  # offsets of the last number in the checkpoint, and in the mark
        self._marked_at = clock()
        metrics.reader_lag(self._reader, lambda: lag(bus, self._reader, (PREFERENCES,)))

    def step(self, wait: float) -> None:
        """Learn the available entries; write a checkpoint and publish when the interval has passed."""
        if self._is_dirty:
            wait = min(wait, BACKLOG_WAIT if self._backlog else self._seconds_left())
        entries = self._bus.read({PARTITION: self._offset}, limit=BATCH, wait=wait)
        self._backlog = len(entries) >= BACKLOG_ENTRIES
        self._take(entries)
        if self._is_dirty and self._seconds_left() <= 0:
            self.flush()
        if not (entries or self._is_dirty) or self._clock() - self._marked_at >= MARK_EVERY:
            self._mark()

    def handle(self, entries: Sequence[Logged]) -> None:
        """Learn up to these entries, reading the log itself; return when the checkpoint is written and an update is published.

        While the rate limit delays the update, later entries are learnt too, and one update covers all of them.
        """
        while self._offset < entries[-1].offset or self._is_dirty:
            self.step(self._seconds_left())
        if self._offset == entries[-1].offset:  # no later entry is known
            self._mark()

    def flush(self, *, at_threshold: bool = False) -> RewardUpdated | None:
        """Write the checkpoint; publish an update if the head has changed since the last one."""
        started = self._clock()
        with trying_again():  # on a full disk the head stays in memory, and the next step retries
            digest = self._checkpoints.save(self.head)
        self._save_took = self._clock() - started
        self._saved_sequence, self._saved_at = self.head.sequence, self._numbered_at
        update = self._update(digest) if self._is_unpublished and (self._caught_up or at_threshold) else None
        if update is not None:
            before = self._published
            self._bus.publish(records_of([update]), timeout=TIMEOUT)
            self._published = update
            self._checkpoints.upload(self._bus, self.head, before, update)  # after publishing, which must not wait for it
            metrics.observe_latency("learner", self._taken)
        self._taken = []
        self._flushed_at = started  # intervals are measured from start to start
        return update

    def close(self) -> None:
        """Flush, mark, and stop the background thread."""
        self._flush_and_mark()
        self._refit.close()

    @property
    def _is_dirty(self) -> bool:
        """Whether there is something to checkpoint or to publish."""
        return self.head.sequence > self._saved_sequence or (self._is_unpublished and self._caught_up)

    @property
    def _caught_up(self) -> bool:
        return self._offset >= self._tail_at_start

    @property
    def _is_unpublished(self) -> bool:
        last = self._published
        return self.head.sequence > (last.sequence if last is not None and last.head_id == self.head_id else 0)

    def _seconds_left(self) -> float:
        """Seconds until the next checkpoint may be written."""
        interval = CATCH_UP_INTERVAL if not self._caught_up else BACKLOG_INTERVAL if self._backlog else INTERVAL
        interval = max(interval, SAVE_FACTOR * self._save_took)
        return max(self._flushed_at + interval - self._clock(), 0.0)

    def _flush_and_mark(self) -> None:
        if self._is_unpublished or self._is_dirty:
            self.flush()
        self._mark()

    def _mark(self) -> None:
        """Mark what the checkpoint includes."""
        if self._saved_at > self._marked:
            self._bus.mark(self._reader, {PARTITION: self._saved_at})
            self._marked = self._saved_at
        self._marked_at = self._clock()

    def _take(self, entries: Sequence[Logged]) -> None:
        batch = decoded(entries, "learner")
        if batch.unreadable:
            self._bus.publish(records_of(batch.unreadable), timeout=TIMEOUT)
        watermark, offset, numbered_at = self._watermark, self._offset, self._numbered_at
        taken: list[tuple[Logged, Numbered]] = []
        for entry, (_, _, event) in zip(batch.logged, batch.entries, strict=True):
            if event is not None:
                try:
                    watermark, numbered = advance(watermark, event)
                except SequenceGap as gap:
                    self._learn(taken)
                    self._rewind(gap)
                    return
                if numbered is not None:
                    taken.append((entry, numbered))
                    numbered_at = entry.offset
                elif isinstance(event, Numbered) and event.sequence == self.head.sequence:
                    self._last = event  # learnt before a restart
            offset = entry.offset
        self._learn(taken)
        self._watermark, self._offset, self._numbered_at = watermark, offset, numbered_at
        if batch.too_new:
            self._tail_at_start = min(self._tail_at_start, self._offset)  # it cannot advance: count as caught up, and publish
            self._flush_and_mark()
            raise batch.too_new

    def _learn(self, taken: Sequence[tuple[Logged, Numbered]]) -> None:
        while taken:
            upto = self._next_threshold(taken)
            before = self.head.judgments_seen
            self._learn_some(taken[:upto])
            taken = taken[upto:]
            if self._every and self.head.judgments_seen // self._every > before // self._every and self._may_publish_threshold:
                self.flush(at_threshold=True)

    def _next_threshold(self, taken: Sequence[tuple[Logged, Numbered]]) -> int:
        """The number of entries up to and including the one that reaches the next threshold; all of them if none does."""
        if not self._every:
            return len(taken)
        missing = self._every - self.head.judgments_seen % self._every
        for place, (_, event) in enumerate(taken, start=1):
            missing -= isinstance(event, PreferenceJoined) and event.stratum == "training" and event.judgment.counts
            if not missing:
                return place
        return len(taken)

    @property
    def _may_publish_threshold(self) -> bool:
        """False while a new head replays judgments for which an older head has requested runs already."""
        return self._caught_up or self._published is None or self._published.head_id == self.head_id

    def _learn_some(self, taken: Sequence[tuple[Logged, Numbered]]) -> None:
        try:
            self.head = learn_all(self.head, [Entry.of(event, self._texts) for _, event in taken], self._refit, in_place=True)
        except EventError:  # one of them cannot be learnt: quarantine it and learn the others
            for entry, event in taken:
                try:
                    self.head = learn(self.head, Entry.of(event, self._texts))
                except EventError as error:
                    log.exception("quarantining preference %d", event.sequence)
                    self._publish_quarantined(quarantined(entry, "learner", str(error)))
                    self.head = replace(self.head, sequence=event.sequence)
        self._refit.begin(self.head, hurry=len(taken) >= BACKLOG_ENTRIES)
        self._last = taken[-1][1]
        self._taken += [event for _, event in taken]

    def _publish_quarantined(self, event: EventQuarantined) -> None:
        self._bus.publish(records_of([event]), timeout=TIMEOUT)

    def _rewind(self, gap: SequenceGap) -> None:
        if self._rewound_at == self.head.sequence:
            raise OffsetLost(f"{gap}; the log has a gap: rebuild the hub's warehouse with 'replay'")
        log.warning("%s; reading the topic from its start", gap)
        self._rewound_at = self.head.sequence
        self._offset, self._watermark = -1, Watermark(0, self.head.sequence)

    def _update(self, checkpoint: str) -> RewardUpdated:
        accuracy, log_loss, n = self.head.prequential
        last = self._last if self._last is not None and self._last.sequence == self.head.sequence else None
        return RewardUpdated(
            event_id=derived_id("RewardUpdated", self.head_id, self.head.sequence),
            source=last.source if last else "product",
            judged_at=last.occurred_at if last else None,
            head_id=self.head_id,
            sequence=self.head.sequence,
            judgments_before=self._published.judgments_seen if self._published else 0,
            judgments_seen=self.head.judgments_seen,
            mean=pack(self.head.overall.mean),
            prequential_accuracy=accuracy,
            prequential_log_loss=log_loss,
            prequential_n=n,
            checkpoint=checkpoint,
        )


def _number_at(bus: Bus, offset: int) -> Numbered | None:
    """The numbered event at this offset of ``feedback.preferences``, or None."""
    for _, event in decoded(bus.read({PARTITION: offset - 1}, limit=1, wait=0), "learner").events if offset >= 0 else ():
        if isinstance(event, Numbered):
            return event
    return None
