"""Turn a training request into a snapshot that any trainer can verify: the hub's reaction to ``training.requested``.

While a run is open, or evidence for its gates is missing, only the newest request waits.
The snapshot goes to the artifact store, its hash to ``training.dataset_frozen``.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from storage.artifacts import Artifacts
from storage.errors import ArtifactError, ConfigurationError
from storage.events import DatasetFrozen, TrainingRequested, derived_id
from storage.snapshots.evidence import Evidence, count_evidence
from storage.snapshots.snapshot import freeze, open_snapshot
from storage.warehouse.warehouse import Warehouse
from streams.runs import Runs, next_to_freeze
from streams.versions import Versions
from trainers.audits.audit import Needs
from trainers.audits.table import needs
from trainers.runs.frozen import read_frozen
from trainers.runs.settings import RunSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shortage:
    """A requested run whose gates could not pass yet, and what it waits for, in words."""

    run_id: UUID
    words: str


def freeze_next(
    runs: Runs, versions: Versions, warehouse: Warehouse, artifacts: Artifacts, folder: Path
) -> DatasetFrozen | Shortage | None:
    """Freeze the data of the next request; None if there is none, or the warehouse has not caught up with it yet.

    A request whose gates could not pass for lack of evidence waits. It is frozen as soon as there is enough, with all judgments so far: no
    new request is needed. Idempotent: freezing again after a crash gives an event with the same id, and the first one counts.
    """
    request = next_to_freeze(runs)
    if request is None or warehouse.last_sequence < request.through_sequence:
        return None
    since, needed = judged_until(runs, versions, artifacts), needs_of(request, artifacts)
    through, words = request.through_sequence, None
    for through in dict.fromkeys((request.through_sequence, warehouse.last_sequence)):
        counted = count_evidence(warehouse, through_sequence=through, sources=request.sources, since=since)
        if (words := shortage(counted, needed)) is None:
            break
    if words is not None:
        return Shortage(request.run_id, words)
    target = folder / str(request.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        freeze(warehouse, target, run_id=request.run_id, through_sequence=through, sources=request.sources, since=since)
        snapshot = artifacts.put(target)
    finally:
        shutil.rmtree(target, ignore_errors=True)  # the artifact store has the only copy
    return frozen(request, snapshot, versions)


def needs_of(request: TrainingRequested, artifacts: Artifacts) -> Needs:
    """The evidence that the gates of the request's settings ask for; nothing if they are unknown or cannot be read.

    A run with settings that cannot be read is not held back here: the trainer says what is wrong with them. More prompts than a trial takes
    are not waited for.
    """
    if request.settings is None:
        return Needs()
    try:
        settings = RunSettings.of(read_frozen(artifacts, request.settings))
    except (ArtifactError, ConfigurationError) as error:
        log.warning("run %s: %s; its evidence is not counted", request.run_id, error)
        return Needs()
    needed = needs(settings.gates)
    return needed.model_copy(update={"prompts": min(needed.prompts, settings.evaluation.prompts)})


def shortage(counted: Evidence, needed: Needs) -> str | None:
    """What is missing, in words; None if nothing is."""
    counts = (
        (counted.judgments, needed.judgments, "evaluation judgments"),
        (counted.recruiters, needed.recruiters, "recruiters who gave them"),
        (counted.prompts, needed.prompts, "evaluation prompts"),
    )
    short = [f"{there} of {wanted} {what}" for there, wanted, what in counts if there < wanted]
    return f"waiting for evidence: {', '.join(short)}" if short else None


def frozen(request: TrainingRequested, snapshot: str, versions: Versions) -> DatasetFrozen:
    """The event, with the snapshot's hash and the champion that the challenger will be judged against."""
    return DatasetFrozen(
        event_id=derived_id("DatasetFrozen", request.run_id),
        source=request.source,
        run_id=request.run_id,
        snapshot=snapshot,
        champion=versions.champion,
        champion_policy=versions.champion_policy,
        challengers_before=versions.verdicts_against(versions.champion),
    )


def judged_until(runs: Runs, versions: Versions, artifacts: Artifacts) -> Mapping[int, int] | None:
    """The offsets in ``chat.replies``, by partition, up to which prompts were used for a verdict; None before the first verdict.

    A run with insufficient evidence does not count: its prompts may be used again. If a snapshot is missing, the one before it is used.
    """
    judged = [
        (version.evaluated.occurred_at, frozen.snapshot)
        for version in versions.versions.values()
        if version.evaluated.verdict != "insufficient" and (frozen := runs[version.evaluated.run_id].frozen) is not None
    ]
    for _, snapshot in sorted(judged, reverse=True):
        try:
            return open_snapshot(artifacts.get(snapshot)).manifest.replies_cut
        except ArtifactError as error:
            log.warning("%s; the prompts that it used may be used again", error)
    return None
