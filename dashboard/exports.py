"""Takes the warehouse's records out, and holds them against the log."""

import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from storage.events import Source
from storage.verify import verify
from storage.warehouse import Warehouse
from streams.bus import Bus, Logged, Partition
from streams.quarantine import event_in
from streams.topics import TOPICS

EVERY_SOURCE: tuple[Source, ...] = ("product", "simulation", "import", "ai")


class Exporter:
    """Answers ``/v1/export`` and ``/v1/verify``."""

    def __init__(self, bus: Bus, warehouse: Warehouse) -> None:
        self._bus = bus
        self._warehouse = warehouse

    def export(self, form: Literal["jsonl", "parquet"], sources: Sequence[Source]) -> bytes:
        """The decisive preferences in TRL's columns, oldest first; of every source where none is named."""
        parameters = {"sources": list(sources or EVERY_SOURCE), "through_sequence": self._warehouse.last_sequence}
        records = [record for row in self._warehouse.query("preferences_export", parameters).to_pylist() if (record := as_record(row))]
        if form == "jsonl":
            return b"".join(orjson.dumps(record) + b"\n" for record in records)
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), out)
        return out.getvalue()

    def verify(self) -> dict[str, Any]:
        """What differs between log and warehouse, by kind of difference."""
        report = verify(self._warehouse, self._log(), lambda entry: event_in(Logged(Partition(*entry[:2]), entry[2], b"", entry[3])))
        found: dict[str, Any] = {"ok": report.clean, "checked": report.entries} | report.model_dump(
            include={"unreadable", "behind", "unpublished"}
        )
        for finding in report.findings:
            found.setdefault(finding.what, []).append(f"{finding.where} {finding.event_id or ''}: {finding.words}")
        return found

    def _log(self) -> Iterator[tuple[str, int, int, bytes]]:
        for partition in self._bus.bounds(list(TOPICS)):
            after = {partition: -1}
            while entries := self._bus.read(after, limit=1_000, wait=0.0):
                for entry in entries:
                    yield entry.partition.topic, entry.partition.number, entry.offset, entry.value
                after[Partition(*partition)] = entries[-1].offset


def as_record(row: dict[str, Any]) -> dict[str, Any] | None:
    """A numbered preference as TRL reads it; ``None`` for a tie, which has no chosen and no rejected."""
    if row["choice"] not in ("A", "B"):
        return None
    chosen, rejected = (row["a"], row["b"]) if row["choice"] == "A" else (row["b"], row["a"])
    return {
        "prompt": orjson.loads(row["prompt"]),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "objective": row["objective"],
        "strength": row["strength"],
        "conversation_id": row["conversation_id"],
        "stratum": row["stratum"],
        "source": row["source"],
    }


_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("prompt", _MESSAGES),
        ("chosen", _MESSAGES),
        ("rejected", _MESSAGES),
        ("objective", pa.string()),
        ("strength", pa.int64()),
        ("conversation_id", pa.string()),
        ("stratum", pa.string()),
        ("source", pa.string()),
    ]
)
