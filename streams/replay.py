"""Fill a new warehouse from the log, while the hub goes on with its own: rows that were lost, or a second opinion on those that are there.

On a replay ``feedback.preferences`` is the truth for what was joined and in which order, so nothing is numbered here.
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
    """Read every topic up to where it ends now into the new file ``into``; what each table holds then.

    ``progress`` is called with the entries read and how many there are.

    Raises
    ------
    ConfigurationError
        ``into`` exists.
    SchemaTooNew
        The log holds an event that only a newer program can read.
    OffsetLost
        The log does not begin at its beginning any more.
    """
    if into.exists():
        raise ConfigurationError(f"{into} is there already; name a file that is not, and take the old one's place with it when it is whole")
    bounds = bus.bounds(list(TOPICS))
    cut = {partition: following for partition, (_, following) in bounds.items()}
    after = dict.fromkeys(cut, -1)
    total, done = sum(cut.values()), 0
    with Warehouse.open(into) as warehouse:
        while behind := {partition: offset for partition, offset in after.items() if offset + 1 < cut[partition]}:
            read = bus.read(behind, limit=BATCH, wait=0)
            entries = [entry for entry in read if entry.offset < cut[entry.partition]]
            if not entries:
                raise WarehouseError(f"the log ends before {sorted(behind.items())[0]}: it has lost entries that it said it had")
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
