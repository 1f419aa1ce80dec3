"""What is left of erased people beside the log and the warehouse: in snapshots, in versions trained on them, in reward updates.

It is derived whenever it is read, so that a run that was still going on at the erasure is found too.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from storage.events import DatasetFrozen, ModelEvaluated
from storage.snapshots.snapshot import TableName, open_snapshot
from storage.warehouse.erasure import Erased, What
from storage.warehouse.warehouse import Warehouse
from trainers.reward.online.settings import HeadSettings

SNAPSHOT_TABLES: tuple[TableName, ...] = ("preferences", "prompts", "groups", "ratings")
_COLUMNS: dict[str, What] = {"conversation_id": "conversation", "pair_id": "pair", "recruiter": "recruiter"}


def erased_names(warehouse: Warehouse) -> Erased:
    """What is erased now."""
    return Erased((row["what"], row["name"]) for row in warehouse.query("erased").to_pylist())


def without_erased(rows: pa.Table, erased: Erased) -> pa.Table:
    """The rows of a snapshot's table without those of erased people."""
    for column, what in _COLUMNS.items():
        names = erased.names[what]
        if names and column in rows.schema.names:  # many more names than rows, where data is kept for a time only
            rows = rows.filter(pa.array([name not in names for name in rows[column].to_pylist()], pa.bool_()))
    return rows


@dataclass(frozen=True)
class TrainedOn:
    """A run whose snapshot holds rows of erased people, and the version trained in it, if there is one; how many rows, and how many of them
    are evaluation prompts, which the run's report may quote."""

    run_id: str
    version: str | None
    rows: int
    prompts: int


def trained_on(warehouse: Warehouse, artifacts: Artifacts, erased: Erased) -> Iterator[TrainedOn]:
    """The runs whose snapshots hold rows of these people, in log order. Snapshots that are gone are passed over."""
    if not any(erased.names[what] for what in _COLUMNS.values()):
        return
    events = warehouse.events(DatasetFrozen, ModelEvaluated)
    versions = {event.run_id: event.version for event in events if isinstance(event, ModelEvaluated)}
    for event in events:
        if isinstance(event, DatasetFrozen):
            try:
                snapshot = open_snapshot(artifacts.get(event.snapshot))
            except ArtifactError:
                continue
            held = {name: _erased_rows(snapshot.stored(name), erased) for name in SNAPSHOT_TABLES}
            if rows := sum(held.values()):
                yield TrainedOn(str(event.run_id), versions.get(event.run_id), rows, held["prompts"])


def _erased_rows(table: pa.Table, erased: Erased) -> int:
    rows: int = table.num_rows - without_erased(table, erased).num_rows
    return rows


def unrepeatable(preferences: Iterable[Mapping[str, Any]], settings: HeadSettings) -> list[range]:
    """The sequence numbers at which a head cannot be computed again: from a preference of an erased person, whose features are gone, to
    the reconciliation after its removal.

    ``preferences`` are the rows of the query ``erased_preferences``.
    """
    spans: list[range] = []
    for row in preferences:  # in ascending order
        end = reconciled_after(row["removed_by"], settings) if row["removed_by"] is not None else 2**62
        if spans and row["sequence"] <= spans[-1].stop:
            spans[-1] = range(spans[-1].start, max(spans[-1].stop, end))
        else:
            spans.append(range(row["sequence"], end))
    return spans


def reconciled_after(sequence: int, settings: HeadSettings) -> int:
    """The first sequence number, not below this one, at which a reconciliation takes effect."""
    delay = settings.taken_over_after
    later = range(sequence, 2**62)
    return later[bisect_left(later, max(sequence - delay, 1), key=lambda number: settings.reconciled_through(number - delay))]


def is_in(sequence: int, spans: Sequence[range]) -> bool:
    return any(sequence in span for span in spans)
