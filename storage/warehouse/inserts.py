"""Inserts a batch of events through Arrow, with one prepared statement per table.

Registering an Arrow table, planning the statement and dropping the table again costs as much as inserting some hundred rows. Therefore an
input is registered once and the statement is prepared over it; each execution scans the rows that the input holds at that moment.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from storage.events import Event, Numbered, PreferenceJoined, PreferenceRemoved
from storage.warehouse.entries import Fact
from storage.warehouse.erasure import Name, keys_in
from storage.warehouse.rows import POSITION, TABLES, arrow_of, row_of, table_of_events

LOGGED = "preference_logged"
COMPACT_AFTER = 10_000  # rows of the offsets table

Rows = tuple[str, pa.Table]  # (name of the table, rows to insert)


@dataclass
class ArrowInput:
    """An Arrow stream that DuckDB scans; empty except while its statement runs."""

    rows: pa.Table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


class Inserts:
    """Prepared statements of one connection. Recreate it after a rollback, which may have undone some of them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._schemas: dict[str, pa.Schema] = {}
        self._inputs: dict[str, ArrowInput] = {}
        self._offset_rows = COMPACT_AFTER  # actual count unknown: the first batch compacts

    def rows_of(self, facts: Sequence[Fact]) -> Iterator[Rows]:
        """Rows of events read from the log, one table per kind."""
        kinds: dict[type[Event], list[Fact]] = defaultdict(list)
        for fact in facts:
            kinds[type(fact[2])].append(fact)
        for kind, some in kinds.items():
            positions, events = _positions(some)
            yield TABLES[kind], table_of_events(kind, events, self.schema(TABLES[kind]), positions)

    def log_positions_of(self, preferences: Sequence[Fact]) -> Iterator[Rows]:
        """Log positions of numbered preferences that were read back from the log."""
        if preferences:
            columns, events = _positions(preferences)
            columns |= {name: [getattr(event, name) for event in events] for name in ("event_id", "epoch", "sequence")}
            yield LOGGED, arrow_of(columns, self.schema(LOGGED))

    def rows_numbered(self, numbered: Sequence[Numbered]) -> Iterator[Rows]:
        """Rows of preferences numbered here or adopted from the log; they have no position columns."""
        for kind in (PreferenceJoined, PreferenceRemoved):
            if events := [entry for entry in numbered if type(entry) is kind]:
                yield TABLES[kind], table_of_events(kind, events, self.schema(TABLES[kind]), {})

    def rows_erased(self, names: Sequence[Name]) -> Iterator[Rows]:
        """Rows of newly erased names."""
        if names:
            yield "erased", arrow_of(dict(zip(("what", "name"), zip(*names, strict=True), strict=True)), self.schema("erased"))

    def rows_repeated(self, facts: Iterable[Fact]) -> Iterator[Rows]:
        """The keys of texts in repeats of stored events."""
        found = [(event.event_id, kid) for _, _, event in facts for kid in keys_in(row_of(event))]
        if found:
            yield (
                "repeated_key",
                arrow_of(dict(zip(("event_id", "kid"), zip(*found, strict=True), strict=True)), self.schema("repeated_key")),
            )

    def insert(self, table: str, rows: pa.Table) -> None:
        """Append the rows; columns are matched by name."""
        if table not in self._inputs:
            empty = ArrowInput(rows.schema.empty_table())
            self._connection.register(f"incoming_{table}", empty)
            self._connection.execute(f"PREPARE fill_{table} AS INSERT INTO {table} BY NAME SELECT * FROM incoming_{table}")
            self._inputs[table] = empty
        arrow_input = self._inputs[table]
        empty_rows, arrow_input.rows = arrow_input.rows, rows
        try:
            self._connection.execute(f"EXECUTE fill_{table}")
        finally:
            arrow_input.rows = empty_rows

    def store_offsets(self, offsets: Mapping[tuple[str, int], int], before: Mapping[tuple[str, int], int]) -> None:
        """Store the offsets that differ from ``before``, the stored ones. Rows are appended and the highest offset of a partition is valid:
        an update takes DuckDB three times as long as an insert."""
        moved = [partition for partition, offset in offsets.items() if before.get(partition) != offset]
        if self._offset_rows >= COMPACT_AFTER:
            self._connection.execute("DELETE FROM offsets")
            self._offset_rows, moved = 0, list(offsets)
        self._offset_rows += len(moved)
        if moved:
            topics, numbers = zip(*moved, strict=True)
            columns = dict(zip(POSITION, (topics, numbers, [offsets[partition] for partition in moved]), strict=True))
            self.insert("offsets", arrow_of(columns, self.schema("offsets")))

    def schema(self, table: str) -> pa.Schema:
        """Arrow schema of the table, with ids as UUIDs, which DuckDB's results give as text."""
        if table not in self._schemas:
            columns = self._connection.sql(f"SELECT * FROM {table} LIMIT 0")
            types = zip(columns.types, columns.to_arrow_table().schema, strict=True)
            self._schemas[table] = pa.schema([field.with_type(pa.uuid()) if kind == "UUID" else field for kind, field in types])
        return self._schemas[table]


def _positions(facts: Sequence[Fact]) -> tuple[dict[str, Sequence[Any]], tuple[Event, ...]]:
    """The position columns of the facts, and their events."""
    partitions, offsets, events = zip(*facts, strict=True)
    topics, numbers = zip(*partitions, strict=True)
    return dict(zip(POSITION, (topics, numbers, offsets), strict=True)), events
