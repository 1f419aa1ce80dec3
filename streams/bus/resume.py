"""Where a reader of ``feedback.preferences`` resumes after a restart."""

from storage.errors import EventUnreadable, OffsetLost
from storage.events import Numbered, Watermark
from streams.bus.protocol import Bus, Partition
from streams.bus.quarantine import event_in
from streams.bus.topics import PREFERENCES

PARTITION = Partition(PREFERENCES.name, 0)


def resume(bus: Bus, reader: str) -> tuple[int, Watermark]:
    """The offset that ``reader`` marked and the watermark of the entry there; the start of the log if the mark is absent or unusable.

    Readers mark the last *numbered* entry that they processed, because it carries both epoch and sequence number.
    """
    ((first, following),) = bus.bounds([PREFERENCES.name]).values()
    offset = bus.marked(reader).get(PARTITION, -1)
    if first <= offset < following:
        (entry,) = bus.read({PARTITION: offset - 1}, limit=1, wait=0)
        try:
            event = event_in(entry)
        except EventUnreadable:
            return first - 1, Watermark()
        if isinstance(event, Numbered):
            return offset, Watermark(event.epoch, event.sequence)
    if first > 0:
        raise OffsetLost(f"{PREFERENCES.name}: the log starts at offset {first}, but the earlier entries are needed")
    return -1, Watermark()
