"""Exports the warehouse's preferences, ratings and rewrites as training records, and recruiters' comments."""

import io
from collections.abc import Sequence
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from storage.events import Source
from storage.snapshots.snapshot import current_ratings
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Warehouse

EVERY_SOURCE: tuple[Source, ...] = ("product", "simulation", "import", "ai")


class Exporter:
    """Answers ``/v1/export`` and the paths below it: ``ratings``, ``rewrites`` and ``comments``."""

    def __init__(self, warehouse: Warehouse, texts: Texts = PLAIN) -> None:
        self._warehouse, self._texts = warehouse, texts

    def export(self, form: Literal["jsonl", "parquet"], sources: Sequence[Source]) -> bytes:
        """The decisive preferences in TRL's columns, oldest first; of every source if ``sources`` is empty."""
        records = [record for row in self._preferences(sources) if (record := as_record(row))]
        if form == "jsonl":
            return b"".join(orjson.dumps(record) + b"\n" for record in records)
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), out)
        return out.getvalue()

    def ratings(self, sources: Sequence[Source]) -> bytes:
        """Thumbs, scores, and both replies of pairs judged "neither", as JSON lines, oldest first; by default of every source."""
        rows = self._texts.table(current_ratings(self._warehouse, sources or EVERY_SOURCE)).to_pylist()
        return b"".join(orjson.dumps(as_unpaired(row)) + b"\n" for row in rows)

    def rewrites(self, sources: Sequence[Source]) -> bytes:
        """The recruiters' rewrites that are preferred to the original, as conversations in JSON lines, oldest first."""
        rows = [row for row in self._preferences(sources) if row["drawn"] == "edited" and row["objective"] == "overall"]
        return b"".join(orjson.dumps(as_conversation(record)) + b"\n" for row in rows if (record := as_record(row)))

    def comments(self, sources: Sequence[Source]) -> bytes:
        """Recruiters' comments with their replies as JSON lines, in log order."""
        rows = self._texts.table(self._warehouse.query("comments_export", {"sources": list(sources or EVERY_SOURCE)})).to_pylist()
        return b"".join(orjson.dumps(row | {"prompt": row["prompt"] and orjson.loads(row["prompt"])}) + b"\n" for row in rows)

    def _preferences(self, sources: Sequence[Source]) -> list[dict[str, Any]]:
        parameters = {"sources": list(sources or EVERY_SOURCE), "through_sequence": self._warehouse.last_sequence}
        rows: list[dict[str, Any]] = self._texts.table(self._warehouse.query("preferences_export", parameters)).to_pylist()
        return rows


def as_unpaired(row: dict[str, Any]) -> dict[str, Any]:
    """A rating in TRL's unpaired preference format."""
    return {
        "prompt": orjson.loads(row["prompt"]),
        "completion": [{"role": "assistant", "content": row["reply"]}],
        "label": row["good"],
        "recruiter": row["recruiter"],
        "conversation_id": row["conversation_id"],
        "stratum": row["stratum"],
        "source": row["source"],
    }


def as_conversation(record: dict[str, Any]) -> dict[str, Any]:
    """An exported preference's prompt and chosen reply in TRL's format for conversations."""
    kept = {name: record[name] for name in ("conversation_id", "stratum", "source")}
    return {"messages": [*record["prompt"], *record["chosen"]], **kept}


def as_record(row: dict[str, Any]) -> dict[str, Any] | None:
    """A numbered preference in TRL's format; ``None`` for a tie, which has no chosen and no rejected."""
    if row["choice"] not in ("A", "B"):
        return None
    chosen, rejected = (row["a"], row["b"]) if row["choice"] == "A" else (row["b"], row["a"])
    return {
        "prompt": orjson.loads(row["prompt"]),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "objective": row["objective"],
        "strength": row["strength"],
        "reason": row["reason"],
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
        ("reason", pa.string()),
        ("conversation_id", pa.string()),
        ("stratum", pa.string()),
        ("source", pa.string()),
    ]
)
