"""How the events of a batch become Arrow tables, and these become rows: one statement a table, which DuckDB parses and plans once.

Registering an Arrow table, planning its statement and dropping it again costs as much as inserting some hundred rows. So an inlet is
registered once and the statement prepared over it; each execution scans whatever the inlet holds at that moment.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from storage.events import Event, Numbered, PreferenceJoined, PreferenceRemoved
from storage.warehouse.entries import Fact
from storage.warehouse.rows import POSITION, TABLES, arrow_of, table_of_events

LOGGED = "preference_logged"
TIDY_AFTER = 10_000  # rows of offsets

Rows = tuple[str, pa.Table]  # of a table, by its name


@dataclass
class Inlet:
    """What DuckDB scans, through Arrow's C interface; empty but while its statement runs."""

    rows: pa.Table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


class Inserts:
    """The prepared statements of one connection. Make it anew after a rollback, which may have taken some of them back."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._schemas: dict[str, pa.Schema] = {}
        self._inlets: dict[str, Inlet] = {}
        self._offset_rows = TIDY_AFTER  # or more: the first batch tidies up

    def rows_of(self, facts: Sequence[Fact]) -> Iterator[Rows]:
        """The rows of what was read from the log, kind by kind."""
        kinds: dict[type[Event], list[Fact]] = defaultdict(list)
        for fact in facts:
            kinds[type(fact[2])].append(fact)
        for kind, some in kinds.items():
            positions, events = _positions(some)
            yield TABLES[kind], table_of_events(kind, events, self.schema(TABLES[kind]), positions)

    def places_of(self, preferences: Sequence[Fact]) -> Iterator[Rows]:
        """Where numbered preferences came back from the log."""
        if preferences:
            columns, events = _positions(preferences)
            columns |= {name: [getattr(event, name) for event in events] for name in ("event_id", "epoch", "sequence")}
            yield LOGGED, arrow_of(columns, self.schema(LOGGED))

    def rows_numbered(self, numbered: Sequence[Numbered]) -> Iterator[Rows]:
        """The rows of what was numbered here, or taken over; they stand on the log later or elsewhere."""
        for kind in (PreferenceJoined, PreferenceRemoved):
            if events := [entry for entry in numbered if type(entry) is kind]:
                yield TABLES[kind], table_of_events(kind, events, self.schema(TABLES[kind]), {})

    def insert(self, table: str, rows: pa.Table) -> None:
        """Append the rows, whose columns are told by name."""
        if table not in self._inlets:
            empty = Inlet(rows.schema.empty_table())
            self._connection.register(f"incoming_{table}", empty)
            self._connection.execute(f"PREPARE fill_{table} AS INSERT INTO {table} BY NAME SELECT * FROM incoming_{table}")
            self._inlets[table] = empty
        inlet = self._inlets[table]
        empty_rows, inlet.rows = inlet.rows, rows
        try:
            self._connection.execute(f"EXECUTE fill_{table}")
        finally:
            inlet.rows = empty_rows

    def remember(self, offsets: Mapping[tuple[str, int], int], before: Mapping[tuple[str, int], int]) -> None:
        """Move on from ``before``, which is what the warehouse holds, to ``offsets``. The highest of a partition is the one that counts:
        an update takes DuckDB three times as long as a row more."""
        moved = [place for place, offset in offsets.items() if before.get(place) != offset]
        if self._offset_rows >= TIDY_AFTER:
            self._connection.execute("DELETE FROM offsets")
            self._offset_rows, moved = 0, list(offsets)
        self._offset_rows += len(moved)
        if moved:
            topics, numbers = zip(*moved, strict=True)
            columns = dict(zip(POSITION, (topics, numbers, [offsets[place] for place in moved]), strict=True))
            self.insert("offsets", arrow_of(columns, self.schema("offsets")))

    def schema(self, table: str) -> pa.Schema:
        """The table's columns as Arrow has them; ids as such, where DuckDB's answers give their text."""
        if table not in self._schemas:
            columns = self._connection.sql(f"SELECT * FROM {table} LIMIT 0")
            types = zip(columns.types, columns.to_arrow_table().schema, strict=True)
            self._schemas[table] = pa.schema([field.with_type(pa.uuid()) if kind == "UUID" else field for kind, field in types])
        return self._schemas[table]


def _positions(facts: Sequence[Fact]) -> tuple[dict[str, Sequence[Any]], tuple[Event, ...]]:
    """The columns that say where the facts stand on the log, and their events."""
    partitions, offsets, events = zip(*facts, strict=True)
    topics, numbers = zip(*partitions, strict=True)
    return dict(zip(POSITION, (topics, numbers, offsets), strict=True)), events
