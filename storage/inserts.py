"""How Arrow tables become rows: one statement a table, which DuckDB parses and plans once.

Registering an Arrow table, planning its statement and dropping it again costs as much as inserting some hundred rows. So an inlet is
registered once and the statement prepared over it; each execution scans whatever the inlet holds at that moment.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from storage.rows import arrow_of

# DuckDB prepares no MERGE, so partitions that are new are told from those that have a row.
MOVE_OFFSETS = """
    UPDATE offsets SET log_offset = incoming.log_offset FROM incoming_moved AS incoming
    WHERE offsets.log_topic = incoming.log_topic AND offsets.log_partition = incoming.log_partition
"""


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

    def insert(self, table: str, rows: pa.Table) -> None:
        """Append the rows, whose columns are told by name."""
        self._run(table, rows, f"INSERT INTO {table} BY NAME SELECT * FROM incoming_{table}")

    def remember(self, offsets: Mapping[tuple[str, int], int], before: Mapping[tuple[str, int], int]) -> None:
        """Move on from ``before``, which is what the warehouse holds, to ``offsets``."""
        changed = [
            {"log_topic": place[0], "log_partition": place[1], "log_offset": offset}
            for place, offset in offsets.items()
            if before.get(place) != offset
        ]
        new = [row for row in changed if (row["log_topic"], row["log_partition"]) not in before]
        if len(changed) > len(new):
            self._run("moved", arrow_of(changed, self.schema("offsets")), MOVE_OFFSETS)
        if new:
            self.insert("offsets", arrow_of(new, self.schema("offsets")))

    def schema(self, table: str) -> pa.Schema:
        """The table's columns as Arrow has them."""
        if table not in self._schemas:
            self._schemas[table] = self._connection.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema
        return self._schemas[table]

    def _run(self, name: str, rows: pa.Table, statement: str) -> None:
        if name not in self._inlets:
            empty = Inlet(rows.schema.empty_table())
            self._connection.register(f"incoming_{name}", empty)
            self._connection.execute(f"PREPARE fill_{name} AS {statement}")
            self._inlets[name] = empty
        inlet = self._inlets[name]
        empty_rows, inlet.rows = inlet.rows, rows
        try:
            self._connection.execute(f"EXECUTE fill_{name}")
        finally:
            inlet.rows = empty_rows
