"""Turn a training request into a snapshot that any trainer can verify: the hub's reaction to ``training.requested``.

While a run is open only the newest request waits. The snapshot goes to the artifact store, its hash to ``training.dataset_frozen``.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from storage.events import DatasetFrozen, TrainingRequested, derived_id
from storage.snapshots.snapshot import freeze, open_snapshot
from storage.warehouse.warehouse import Warehouse
from streams.runs import Runs, next_to_freeze
from streams.versions import Versions

log = logging.getLogger(__name__)


def freeze_next(runs: Runs, versions: Versions, warehouse: Warehouse, artifacts: Artifacts, folder: Path) -> DatasetFrozen | None:
    """Freeze the data of the next request; None if there is none, or the warehouse has not caught up with it yet.

    Idempotent: freezing again after a crash gives an event with the same id, and the first one counts.
    """
    request = next_to_freeze(runs)
    if request is None or warehouse.last_sequence < request.through_sequence:
        return None
    target = folder / str(request.run_id)
    if target.exists():  # left by a hub that was killed before it published the event
        shutil.rmtree(target)
    folder.mkdir(parents=True, exist_ok=True)
    freeze(
        warehouse,
        target,
        run_id=request.run_id,
        through_sequence=request.through_sequence,
        sources=request.sources,
        since=judged_until(runs, versions, artifacts),
    )
    snapshot = artifacts.put(target)
    shutil.rmtree(target)  # the artifact store has the only copy
    return frozen(request, snapshot, versions)


def frozen(request: TrainingRequested, snapshot: str, versions: Versions) -> DatasetFrozen:
    """The event, with the snapshot's hash and the champion that the challenger will be judged against."""
    return DatasetFrozen(
        event_id=derived_id("DatasetFrozen", request.run_id),
        source=request.source,
        run_id=request.run_id,
        snapshot=snapshot,
        champion=versions.champion,
        champion_policy=versions.champion_policy,
        challengers_before=versions.verdicts,
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
