"""Where a head's checkpoints are: in the learner's folder, and every thousand numbers in the artifact store, for the next worker.

Only the last two uploads are kept: a checkpoint holds pseudonyms and features of all that was judged, also of what was removed since.
"""

import logging
from pathlib import Path

from storage.artifacts import Artifacts
from storage.errors import ArtifactError, EventUnreadable
from storage.events import RewardUpdated
from streams.bus.protocol import Bus
from streams.bus.quarantine import decoded, event_in
from streams.bus.scan import batches
from streams.bus.topics import REWARD
from trainers.reward.online.checkpoint import load, part_file, parts_of, save_hashed
from trainers.reward.online.head import Head

log = logging.getLogger(__name__)

UPLOAD_EVERY = 1_000  # sequence numbers between checkpoints uploaded to the artifact store
UPLOADS_KEPT = 2  # another worker may be reading the last but one
UPLOAD_SEARCH = (UPLOADS_KEPT + 2) * UPLOAD_EVERY  # reward updates searched for uploads: of a head, two are at most UPLOAD_EVERY apart


class HeadCheckpoints:
    """The checkpoints of the head ``head_id`` under ``folder``; without ``artifacts`` nothing is uploaded."""

    def __init__(self, folder: Path, head_id: str, artifacts: Artifacts | None) -> None:
        self._path, self._head_id, self._artifacts = folder / head_id / "head.safetensors", head_id, artifacts

    @property
    def are_here(self) -> bool:
        """Whether a learner on this machine has written one."""
        return self._path.exists()

    def newest(self, bus: Bus, *, history: bool = True) -> Head | None:
        """The checkpoint with the highest sequence number, of those that can be read; see ``checkpoint.load`` for ``history``.

        Without history, which serves predictions, one on this machine is new enough.
        """
        if not history and (here := self._from_disk(history)) is not None:
            return here
        heads = [head for head in (self._from_disk(history), self._from_artifacts(bus, history)) if head is not None]
        return max(heads, key=lambda head: head.sequence, default=None)

    def save(self, head: Head) -> str:
        """Write the checkpoint to the folder; returns its SHA-256."""
        return save_hashed(head, self._path)

    def upload(self, bus: Bus, head: Head, before: RewardUpdated | None, update: RewardUpdated) -> None:
        """Upload the saved ``head`` if a multiple of ``UPLOAD_EVERY`` lies between the two updates: missing parts of its history first.

        All uploads before the last two are removed, those of another head too.
        """
        if self._artifacts is None or not _is_upload_due(before, update):
            return
        for part in head.history.parts:
            if part.digest not in self._artifacts:
                self._artifacts.put(part_file(self._path, part.digest))
        self._artifacts.put(self._path)
        self._remove_old_uploads(bus, self._artifacts)

    def _remove_old_uploads(self, bus: Bus, artifacts: Artifacts) -> None:
        checkpoints = [update.checkpoint for update in _uploads(bus, artifacts)]
        try:
            parts = {checkpoint: set(parts_of(artifacts.get(checkpoint))) for checkpoint in checkpoints}
        except ArtifactError as error:
            log.warning("%s; older uploads are kept", error)
            return
        needed = set().union(*(parts[checkpoint] for checkpoint in checkpoints[-UPLOADS_KEPT:]))
        for checkpoint in checkpoints[:-UPLOADS_KEPT]:
            for part in parts[checkpoint] - needed:
                artifacts.remove(part)
            artifacts.remove(checkpoint)  # last: a learner that is killed before finds the rest again

    def _from_disk(self, history: bool) -> Head | None:
        if not self._path.exists():
            return None
        try:
            return load(self._path, history=history)
        except ArtifactError as error:
            log.warning("%s; continuing without this checkpoint", error)
            return None

    def _from_artifacts(self, bus: Bus, history: bool) -> Head | None:
        """The newest uploaded checkpoint of this head."""
        if self._artifacts is None:
            return None
        own = [update.checkpoint for update in _uploads(bus, self._artifacts) if update.head_id == self._head_id]
        if not own:
            return None
        try:
            return load(self._artifacts.get(own[-1]), history=history, part_at=self._artifacts.get)
        except ArtifactError as error:
            log.warning("%s; continuing without this checkpoint", error)
            return None


def _uploads(bus: Bus, artifacts: Artifacts) -> list[RewardUpdated]:
    """The updates, of any head, whose checkpoints were uploaded, oldest first; of the last ``UPLOAD_SEARCH`` on the log."""
    found, before = [], dict[str, RewardUpdated]()
    for update in _last_updates(bus, UPLOAD_SEARCH):
        if _is_upload_due(before.get(update.head_id), update) and update.checkpoint in artifacts:
            found.append(update)
        before[update.head_id] = update
    return found


def last_update(bus: Bus) -> RewardUpdated | None:
    """The newest reward update on the log, of any head."""
    newest: RewardUpdated | None = None
    for partition, (first, following) in bus.bounds([REWARD.name]).items():
        for offset in range(following - 1, first - 1, -1):  # the last readable entry
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


def _is_upload_due(before: RewardUpdated | None, update: RewardUpdated) -> bool:
    """Whether a multiple of ``UPLOAD_EVERY`` lies between the two updates."""
    same = before is not None and before.head_id == update.head_id
    return update.sequence // UPLOAD_EVERY > (before.sequence if before is not None and same else 0) // UPLOAD_EVERY
