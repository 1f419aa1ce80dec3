"""What comes back on ``feedback.preferences``, compared with what is numbered here; before the claim, what is new there is taken over.

One hub numbers. Its claim has the highest epoch, and what an older hub still writes after that claim counts for nobody.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from storage.errors import WarehouseError
from storage.events import Event, HubClaimed, Numbered, SequenceGap, Watermark, advance


@dataclass(frozen=True)
class Numbering:
    """Where the numbering stands: the epoch claimed here, the highest claim read from the log, the last number.

    ``claimed`` says that this process numbers.
    """

    epoch: int
    log_epoch: int
    last: int
    claimed: bool


def read_back(events: Collection[Event], known: Mapping[int, UUID], at: Numbering, path: Path) -> tuple[list[Numbered], int]:
    """The entries to take over, and the highest claim seen.

    Parameters
    ----------
    events : what was read, in order; all but claims and preferences is passed over
    known : number → event id of what is numbered here, for all numbers in ``events``
    path : the warehouse, for the message

    Raises
    ------
    WarehouseError
        The log says otherwise than the numbers here, or another hub numbers.
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
