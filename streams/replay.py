"""Rebuild a warehouse from the log into a new file, to restore lost rows or to compare; the hub can keep running.

``feedback.preferences`` is the source of truth for what was joined and in which order, so a replay assigns no sequence numbers.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from storage.errors import ConfigurationError, WarehouseError
from storage.warehouse.contents import Content, contents
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Bus
from streams.bus.quarantine import decoded
from streams.bus.topics import TOPICS
from streams.gc_pause import gc_paused

log = logging.getLogger(__name__)

BATCH = 1_000
GROUP = "replay"


def replay(bus: Bus, into: Path, progress: Callable[[int, int], None]) -> dict[str, Content]:
    """Apply every topic, up to its current end, to the new file ``into``; return the contents of each table.

    ``progress`` is called with the number of entries read and their total.

    Raises
    ------
    ConfigurationError
        ``into`` exists.
    SchemaTooNew
        The log has an event with a newer schema version.
    OffsetLost
        The log no longer starts at offset 0.
    """
    if into.exists():
        raise ConfigurationError(f"{into} is there already; use a new file, and move it over the old one when the replay is complete")
    bounds = bus.bounds(list(TOPICS))
    cut = {partition: following for partition, (_, following) in bounds.items()}
    after = dict.fromkeys(cut, -1)
    total, done = sum(cut.values()), 0
    with Warehouse.open(into) as warehouse:
        while behind := {partition: offset for partition, offset in after.items() if offset + 1 < cut[partition]}:
            read = bus.read(behind, limit=BATCH, wait=0)
            entries = [entry for entry in read if entry.offset < cut[entry.partition]]
            if not entries:
                raise WarehouseError(f"the log ends before {sorted(behind.items())[0]}: entries are missing that its bounds include")
            with gc_paused():
                batch = decoded(entries, GROUP)
                applied = warehouse.apply(batch.entries)
            for refusal in applied.refused:
                (topic, number), offset, _ = refusal.entry
                log.warning("%s, partition %d, offset %d: %s", topic, number, offset, refusal.reason)
            after.update(batch.upto)
            done += len(batch.entries)
            progress(done, total)
            if batch.too_new:
                raise batch.too_new
        return contents(warehouse)
