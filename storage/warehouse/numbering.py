"""Reconciles ``feedback.preferences``, as read from the log, with the numbers in the warehouse.

Before the epoch is claimed, new entries on the log are adopted; afterwards they must match. One hub numbers at a time, under the highest
epoch claimed; entries published by an older hub after that claim are ignored.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from storage.errors import WarehouseError
from storage.events import Event, HubClaimed, Numbered, SequenceGap, Watermark, advance


@dataclass(frozen=True)
class Numbering:
    """State of the numbering: the epoch claimed here, the highest epoch on the log, the last number.

    ``claimed`` is True if this process does the numbering.
    """

    epoch: int
    log_epoch: int
    last: int
    claimed: bool


def read_back(events: Collection[Event], known: Mapping[int, UUID], at: Numbering, path: Path) -> tuple[list[Numbered], int]:
    """Return the entries to adopt, and the highest epoch seen.

    Parameters
    ----------
    events : events in log order; all but claims and numbered preferences are ignored
    known : number → event id in the warehouse, for all numbers in ``events``
    path : of the warehouse, for messages

    Raises
    ------
    WarehouseError
        The log disagrees with the warehouse, or another hub has claimed a higher epoch.
    """
    here = dict(known)
    watermark = Watermark(at.log_epoch, at.last)
    adopted: list[Numbered] = []
    for event in events:
        if isinstance(event, HubClaimed) and at.claimed and event.epoch > at.epoch:
            raise WarehouseError(f"hub {event.hub!r} has claimed epoch {event.epoch} above ours, {at.epoch}: stop one of the two")
        try:
            watermark, entry = advance(watermark, event)
        except SequenceGap as gap:
            raise _disagreement(path, f"it has entry {gap.entry.sequence}, and here the last one is {watermark.sequence}") from gap
        if entry is not None:
            if at.claimed:
                raise _disagreement(path, f"it has entry {entry.sequence}, and here the last one is {at.last}")
            here[entry.sequence] = entry.event_id
            adopted.append(entry)
        elif isinstance(event, Numbered) and event.epoch >= watermark.epoch and here.get(event.sequence) != event.event_id:
            raise _disagreement(path, f"entry {event.sequence} is {event.event_id} there and {here.get(event.sequence)} here")
    return adopted, watermark.epoch


def _disagreement(path: Path, what: str) -> WarehouseError:
    return WarehouseError(f"feedback.preferences and {path} disagree: {what}; the log is right: rebuild with feedbackloop replay")
