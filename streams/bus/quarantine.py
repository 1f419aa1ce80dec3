"""Quarantine entries that cannot be read or handled: their position, the reason and a hash, so that processing continues.

Every reader decodes through here; the events go to ``feedback.quarantine`` and from there, by the sink, to the warehouse.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.errors import EventUnreadable, SchemaTooNew
from storage.events import Event, EventQuarantined, derived_id
from storage.events.wire import decode
from storage.warehouse.entries import Entry
from storage.warehouse.rows import refuse_unstorable
from streams import metrics
from streams.bus.protocol import Logged, Partition
from streams.bus.topics import TOPIC_OF


@dataclass
class Batch:
    """Decoded entries of the log.

    Attributes
    ----------
    logged : the entries
    entries : partition, offset and event of each; the event is None where it is unreadable
    unreadable : a quarantine event for each unreadable entry
    too_new : set when the next entry has a newer schema version than this program; the reader has to stop before it
    """

    logged: Sequence[Logged]
    entries: list[Entry] = field(default_factory=list)
    unreadable: list[EventQuarantined] = field(default_factory=list)
    too_new: SchemaTooNew | None = None

    @property
    def events(self) -> list[tuple[Logged, Event]]:
        """The readable entries with their events."""
        return [(logged, event) for logged, (_, _, event) in zip(self.logged, self.entries, strict=True) if event is not None]

    @property
    def upto(self) -> dict[Partition, int]:
        """The last offset of each partition."""
        return {entry.partition: entry.offset for entry in self.logged}


def decoded(entries: Sequence[Logged], reader: str) -> Batch:
    """Decode the entries, up to the first with a newer schema version."""
    batch = Batch(entries)
    for entry in entries:
        event = None
        try:
            event = event_in(entry)
        except SchemaTooNew as error:
            batch.too_new = SchemaTooNew(f"{entry.partition.topic}, offset {entry.offset}: {error}")
            batch.logged = entries[: len(batch.entries)]
            break
        except EventUnreadable as error:
            batch.unreadable.append(quarantined(entry, reader, str(error)))
        batch.entries.append((entry.partition, entry.offset, event))
    return batch


def event_in(entry: Logged) -> Event:
    """Decode the entry; ``EventUnreadable`` also when its kind does not belong on the topic or the warehouse cannot store it.

    All readers must agree on what is unreadable: a hub claim that the sink quarantines must not depose that hub for the learner.
    """
    event = decode(entry.value)
    if TOPIC_OF[type(event)].name != entry.partition.topic:
        raise EventUnreadable(f"a {event.kind} does not belong on {entry.partition.topic}")
    refuse_unstorable(event)
    return event


def quarantined(entry: Logged, reader: str, reason: str) -> EventQuarantined:
    """The quarantine event for ``entry``; idempotent, its id comes from the position and ``reader``."""
    topic, partition = entry.partition
    metrics.count_quarantined(reader)
    return EventQuarantined(
        event_id=derived_id("EventQuarantined", topic, partition, entry.offset, reader),
        source="product",
        topic=topic,
        partition=partition,
        offset=entry.offset,
        reader=reader,
        reason=reason[:2000],
        payload_hash=hashlib.sha256(entry.value).hexdigest(),
    )
