"""Counts what a snapshot would hold of the evaluation stratum, so that a run can wait for its evidence before anything is frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.events import Source
from storage.snapshots.snapshot import REPLIES
from storage.warehouse.warehouse import Warehouse


@dataclass(frozen=True)
class Evidence:
    """Numbers of the evaluation stratum's prompts, judgments, and recruiters who gave them."""

    prompts: int
    judgments: int
    recruiters: int


def count_evidence(
    warehouse: Warehouse, *, through_sequence: int, sources: Sequence[Source], since: Mapping[int, int] | None = None
) -> Evidence:
    """The counts of a snapshot frozen now with the same arguments; see :func:`storage.snapshots.snapshot.freeze`."""
    read = {partition: offset for (topic, partition), offset in sorted(warehouse.offsets().items()) if topic == REPLIES}
    (row,) = warehouse.query(
        "evidence_counted",
        {
            "through_sequence": through_sequence,
            "sources": list(sources),
            "partitions": list(read),
            "cut": list(read.values()),
            "since": [(since or {}).get(partition, -1) for partition in read],
        },
    ).to_pylist()
    return Evidence(prompts=row["prompts"], **row["judged"])
