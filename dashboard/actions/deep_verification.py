"""``feedbackloop verify --deep``: what is signed, and what a file's own hash says, against the log."""

from collections.abc import Iterator
from pathlib import Path

from access.change_log import ChangeLog
from storage.artifacts import Artifacts
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.errors import ArtifactError
from storage.events import ModelPromoted, RewardUpdated
from storage.files import file_hash
from storage.settings import Settings
from storage.warehouse.verify import Finding
from storage.warehouse.warehouse import Warehouse
from streams.attestation.verify import verify
from streams.bus.protocol import Bus
from trainers.reward.online.checkpoint import load


def deep_findings(bus: Bus, warehouse: Warehouse, artifacts: Artifacts, settings: Settings) -> Iterator[Finding]:
    """Records of promotions with their signatures, gates, evidence and chain; changes of access; the learner's file by its hash.

    Raises :class:`AttestationError` if a public key cannot be read.
    """
    keys = Keys(settings.common.home, settings.section("attestation", AttestationSettings))
    yield from _records(warehouse, artifacts, keys)
    yield from (
        Finding(what="signature", where="access", event_id=None, words=problem) for problem in ChangeLog(bus, keys).state().problems
    )
    yield from _checkpoints(warehouse, settings.common.home / "learner")


def _records(warehouse: Warehouse, artifacts: Artifacts, keys: Keys) -> Iterator[Finding]:
    trusted = keys.trusted()
    for event in warehouse.events(ModelPromoted):
        if isinstance(event, ModelPromoted) and event.record is not None:
            try:
                raw = artifacts.read(event.record)
            except ArtifactError:
                continue  # found by its hash already
            for check in verify(raw, artifacts, trusted).failures:
                where = f"record of {event.version}"
                yield Finding(what="signature", where=where, event_id=event.event_id, words=f"{check.what}: {check.words}")


def _checkpoints(warehouse: Warehouse, folder: Path) -> Iterator[Finding]:
    """A checkpoint whose number is that of an update has the hash that the update names."""
    updates = {(event.head_id, event.sequence): event for event in warehouse.events(RewardUpdated) if isinstance(event, RewardUpdated)}
    for path in sorted(folder.glob("*/head.safetensors")):
        where = f"learner/{path.parent.name[:16]}/{path.name}"
        try:
            update = updates.get((path.parent.name, load(path).sequence))
        except ArtifactError:
            continue  # found already
        if update is not None and file_hash(path) != update.checkpoint:
            yield Finding(what="state", where=where, event_id=update.event_id, words="it is not the file whose hash the update names")
