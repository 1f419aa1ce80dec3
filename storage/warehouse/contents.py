"""What a warehouse holds, as one hash a table: two that were filled from the same log agree, however it travelled.

Rows are taken in the order of their ids and without their positions on the log, which differ between transports.
"""

import hashlib
from dataclasses import dataclass

from storage.warehouse.rows import POSITION, TABLES
from storage.warehouse.warehouse import Warehouse

AT_ONCE = 10_000  # rows


@dataclass(frozen=True)
class Content:
    """How many rows a table has, and the SHA-256 of their SHA-256s, one after the other."""

    rows: int
    sha256: str


def contents(warehouse: Warehouse) -> dict[str, Content]:
    """Every table of events, of one moment."""
    found: dict[str, Content] = {}
    with warehouse.reading() as cursor:
        for table in TABLES.values():
            names = [row[0] for row in cursor.execute(f"SELECT * FROM {table} LIMIT 0").description or [] if row[0] not in POSITION]
            row = ", ".join(f'"{name}" := "{name}"' for name in names)
            # Each row as its hash: whole rows of a million events do not fit into the memory that sorting them takes.
            digests = cursor.sql(f"SELECT sha256(to_json(struct_pack({row}))::VARCHAR) AS digest FROM {table} ORDER BY event_id")
            total, count = hashlib.sha256(), 0
            for batch in digests.to_arrow_reader(AT_ONCE):
                for digest in batch.column("digest").to_pylist():
                    total.update(digest.encode())
                count += batch.num_rows
            found[table] = Content(count, total.hexdigest())
    return found
