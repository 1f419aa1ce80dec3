"""The online head in the processor: takes each preference in the order of its number and says how the reward has moved.

Exact by itself: the checkpoint holds weights and number in one file, repeats are passed over, and a hole or an older checkpoint sends it
back to the log. From ``feedback.preferences`` (the hub's publisher) to ``models.reward.updated`` (trigger, serving, dashboard).

The checkpoint lies in a local folder; one in a thousand numbers also goes to the artifacts, for the worker that is given the learner next.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from storage.artifacts import Artifacts
from storage.errors import ArtifactError, EventError, EventUnreadable, OffsetLost, trying_again
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
from streams import metrics
from streams.bus.kafka_settings import is_kafka
from streams.bus.lag import lag
from streams.bus.protocol import Bus, Logged, records_of
from streams.bus.quarantine import decoded, event_in, quarantined
from streams.bus.resume import PARTITION, resume
from streams.bus.scan import batches
from streams.bus.topics import PREFERENCES, REWARD
from streams.stations.background_refit import BackgroundRefit
from streams.stations.contexts import ProcessorContext
from streams.stations.settings import RetrainingRule
from trainers.data.preference import Entry
from trainers.reward.online.checkpoint import load, save_hashed, shard_file
from trainers.reward.online.learn import Head, head_id, learn, learn_all, new_head
from trainers.reward.online.settings import HeadSettings

log = logging.getLogger(__name__)

BATCH = 500
MANY = 100  # at once: there is a backlog, and what is computed beside the learning will soon be waited for
INTERVAL = 0.1  # seconds between updates: at most 10 a second
BACKLOG = 1.0  # seconds between updates that the next hundred will outdate: writing ten a second takes a fifth of the learning
GLANCE = 0.02  # seconds: more of a backlog is there at once, and its end has to be said soon
SHARE = 2  # and at least so many times what writing a checkpoint takes, so that half of the time is left for learning
MARK_EVERY = 1.0  # seconds: only the next start and the metrics look at the mark, and on Kafka it is a question to the broker
KEEP_EVERY = 1_000  # numbers between two checkpoints that go to the artifacts
LOOK_BACK = 2_000  # reward updates that are looked through for one
CATCHING_UP = 5.0  # seconds between checkpoints while nothing is published yet
TIMEOUT = 30.0


def build(context: ProcessorContext) -> "Learner":
    """The station of the table's row."""
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
        artifacts=Artifacts(common.artifacts_url) if is_kafka(common.bus_url) else None,  # on one machine the folder is enough
    )


class Learner:
    """One head, folded from number 1; publishes once it has caught up with what was on the log when it started.

    At each multiple of ``every`` judgments it stops and says so, whatever batch that falls into: two workers that pass the same threshold
    then ask for the same run, over the same data.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus, self._artifacts, self._every, self._clock = bus, artifacts, every, clock
        self.head_id = head_id(settings, embedding_hash, sources)
        self._reader = f"learner-{self.head_id[:16]}"
        self._path = folder / self.head_id / "head.safetensors"
        found = [head for head in (self._loaded(), self._kept()) if head is not None]
        self.head = max(found, key=lambda head: head.sequence, default=None) or new_head(settings, embedding_hash, dimension, sources)
        self._offset, self._watermark = resume(bus, self._reader)
        if self._watermark.sequence > self.head.sequence:
            self._offset, self._watermark = -1, Watermark()  # the checkpoint is older than the mark
        self._watermark = Watermark(self._watermark.epoch, self.head.sequence)
        self._numbered_at = -1  # offset of the last number taken
        self._last = _number_at(bus, self._offset)  # the last number that this process has met, learnt before or now
        self._went_back_for: int | None = None
        self._taken: list[Numbered] = []  # since the last checkpoint
        self._behind = False  # the last read brought many
        self._ahead = BackgroundRefit()
        self._published = last_update(bus)
        self._tail_at_start = bus.bounds([PARTITION.topic])[PARTITION][1] - 1
        self._saved_sequence = self.head.sequence
        self._flushed_at, self._save_took = clock() - CATCHING_UP, 0.0
        self._saved_at = self._marked = -1  # offsets of the last number in the checkpoint, and in the mark
        self._marked_at = clock()
        metrics.reader_lag(self._reader, lambda: lag(bus, self._reader, (PREFERENCES,)))

    def step(self, wait: float) -> None:
        """Learn what is there; publish when something new may be said."""
        if self._has_news:
            wait = min(wait, GLANCE if self._behind else self._left())
        entries = self._bus.read({PARTITION: self._offset}, limit=BATCH, wait=wait)
        self._behind = len(entries) >= MANY
        self._take(entries)
        if self._has_news and self._left() <= 0:
            self.flush()
        if not (entries or self._has_news) or self._clock() - self._marked_at >= MARK_EVERY:
            self._mark()

    def answer(self, entries: Sequence[Logged]) -> None:
        """Learn up to these entries, from the log itself, and return when the checkpoint is written and the head's state is said.

        Until it may speak again it learns what comes meanwhile, so that one word is enough for all of it.
        """
        while self._offset < entries[-1].offset or self._has_news:
            self.step(self._left())
        if self._offset == entries[-1].offset:  # as far as is known nothing follows
            self._mark()

    def flush(self, *, at_threshold: bool = False) -> RewardUpdated | None:
        """Write the checkpoint, publish the head's state where it is news."""
        started = self._clock()
        with trying_again():  # on a full disk: what was learnt stays in memory, and the next step writes it
            digest = save_hashed(self.head, self._path)
        self._save_took = self._clock() - started
        self._saved_sequence, self._saved_at = self.head.sequence, self._numbered_at
        update = self._update(digest) if self._unsaid and (self._caught_up or at_threshold) else None
        if update is not None:
            before = self._published
            self._bus.publish(records_of([update]), timeout=TIMEOUT)
            self._published = update
            if self._artifacts is not None and _crossed(before, update):
                self._keep(self._artifacts)  # after it was said: nobody waits for the copy
            metrics.reached("learner", self._taken)
        self._taken = []
        self._flushed_at = started  # from one start to the next: what writing takes is no pause on top
        return update

    def close(self) -> None:
        """Say and keep what was learnt last."""
        self._conclude()
        self._ahead.close()

    @property
    def _has_news(self) -> bool:
        """Something is learnt and not kept yet, or not said though it may be."""
        return self.head.sequence > self._saved_sequence or (self._unsaid and self._caught_up)

    @property
    def _caught_up(self) -> bool:
        return self._offset >= self._tail_at_start

    @property
    def _unsaid(self) -> bool:
        said = self._published
        return self.head.sequence > (said.sequence if said is not None and said.head_id == self.head_id else 0)

    def _left(self) -> float:
        """Seconds until the next checkpoint may be written."""
        pace = CATCHING_UP if not self._caught_up else BACKLOG if self._behind else INTERVAL
        interval = max(pace, SHARE * self._save_took)
        return max(self._flushed_at + interval - self._clock(), 0.0)

    def _conclude(self) -> None:
        if self._unsaid or self._has_news:
            self.flush()
        self._mark()

    def _mark(self) -> None:
        """What the checkpoint holds is done."""
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
                    self._go_back(gap)
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
            self._tail_at_start = min(self._tail_at_start, self._offset)  # it gets no further, and what it knows is worth saying
            self._conclude()
            raise batch.too_new

    def _learn(self, taken: Sequence[tuple[Logged, Numbered]]) -> None:
        while taken:
            upto = self._next_threshold(taken)
            before = self.head.judgments_seen
            self._learn_some(taken[:upto])
            taken = taken[upto:]
            if self._every and self.head.judgments_seen // self._every > before // self._every and self._may_say_threshold:
                self.flush(at_threshold=True)

    def _next_threshold(self, taken: Sequence[tuple[Logged, Numbered]]) -> int:
        """How many of the entries can be learnt before the next threshold is passed: it is reached by the last of them, if at all."""
        if not self._every:
            return len(taken)
        missing = self._every - self.head.judgments_seen % self._every
        for place, (_, event) in enumerate(taken, start=1):
            missing -= isinstance(event, PreferenceJoined) and event.stratum == "training" and event.judgment.counts
            if not missing:
                return place
        return len(taken)

    @property
    def _may_say_threshold(self) -> bool:
        """Not while a new head takes the way of an older one that has asked already."""
        return self._caught_up or self._published is None or self._published.head_id == self.head_id

    def _learn_some(self, taken: Sequence[tuple[Logged, Numbered]]) -> None:
        try:
            self.head = learn_all(self.head, [Entry.of(event) for _, event in taken], self._ahead)
        except EventError:  # one of them cannot be learnt: find it, and let the others teach
            for entry, event in taken:
                try:
                    self.head = learn(self.head, Entry.of(event))
                except EventError as error:
                    log.exception("preference %d goes to quarantine", event.sequence)
                    self._set_aside(quarantined(entry, "learner", str(error)))
                    self.head = replace(self.head, sequence=event.sequence)
        self._ahead.begin(self.head, hurry=len(taken) >= MANY)
        self._last = taken[-1][1]
        self._taken += [event for _, event in taken]

    def _set_aside(self, event: EventQuarantined) -> None:
        self._bus.publish(records_of([event]), timeout=TIMEOUT)

    def _go_back(self, gap: SequenceGap) -> None:
        if self._went_back_for == self.head.sequence:
            raise OffsetLost(f"{gap}; it is not on the log either: rebuild the log's hub with 'replay'")
        log.warning("%s; reading the topic from its start", gap)
        self._went_back_for = self.head.sequence
        self._offset, self._watermark = -1, Watermark(0, self.head.sequence)

    def _loaded(self) -> Head | None:
        if not self._path.exists():
            return None
        try:
            return load(self._path)
        except ArtifactError as error:
            log.warning("%s; learning again from the first preference", error)
            return None

    def _keep(self, artifacts: Artifacts) -> None:
        """The checkpoint, after the parts of its history that are not there yet."""
        for shard in self.head.history.shards:
            if shard.digest not in artifacts:
                artifacts.put(shard_file(self._path, shard.digest))
        artifacts.put(self._path)

    def _kept(self) -> Head | None:
        """The newest checkpoint of this head among the artifacts that the log speaks of."""
        if self._artifacts is None:
            return None
        before, kept = None, None
        for update in _last_updates(self._bus, LOOK_BACK):
            if update.head_id == self.head_id:
                kept = update if _crossed(before, update) and update.checkpoint in self._artifacts else kept
                before = update
        if kept is None:
            return None
        try:
            return load(self._artifacts.get(kept.checkpoint), shard_at=self._artifacts.get)
        except ArtifactError as error:
            log.warning("%s; going on without it", error)
            return None

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
            mean=pack(self.head.mean),
            prequential_accuracy=accuracy,
            prequential_log_loss=log_loss,
            prequential_n=n,
            checkpoint=checkpoint,
        )


def _number_at(bus: Bus, offset: int) -> Numbered | None:
    """The number at this offset of ``feedback.preferences``."""
    for _, event in decoded(bus.read({PARTITION: offset - 1}, limit=1, wait=0), "learner").events if offset >= 0 else ():
        if isinstance(event, Numbered):
            return event
    return None


def last_update(bus: Bus) -> RewardUpdated | None:
    """The newest reward update on the log: what was said last, whatever a checkpoint remembers."""
    newest: RewardUpdated | None = None
    for partition, (first, following) in bus.bounds([REWARD.name]).items():
        for offset in range(following - 1, first - 1, -1):  # the last entry, unless that one cannot be read
            (entry,) = bus.read({partition: offset - 1}, limit=1, wait=0)
            try:
                event = event_in(entry)
            except EventUnreadable:
                continue
            if isinstance(event, RewardUpdated) and (newest is None or event.occurred_at > newest.occurred_at):
                newest = event
            break
    return newest


def _last_updates(bus: Bus, count: int) -> list[RewardUpdated]:
    """The newest reward updates, oldest first."""
    bounds = bus.bounds([REWARD.name])
    after = {partition: max(first, following - count) - 1 for partition, (first, following) in bounds.items()}
    events = [event for entries in batches(bus, after) for _, event in decoded(entries, "learner").events]
    return [event for event in events if isinstance(event, RewardUpdated)]


def _crossed(before: RewardUpdated | None, update: RewardUpdated) -> bool:
    """Does this update pass a number at which a checkpoint is kept?"""
    same = before is not None and before.head_id == update.head_id
    return update.sequence // KEEP_EVERY > (before.sequence if before is not None and same else 0) // KEEP_EVERY
