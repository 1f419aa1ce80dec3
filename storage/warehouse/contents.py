"""One hash per table of a warehouse, to compare warehouses: two that were filled from the same log are equal, whatever the transport.

Rows are hashed in the order of their ids and without their log positions, which differ between transports.
"""

import hashlib
from dataclasses import dataclass

from storage.warehouse.rows import POSITION, TABLES
from storage.warehouse.warehouse import Warehouse

BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Content:
    """Row count of a table, and the SHA-256 of the concatenated SHA-256s of its rows."""

    rows: int
    sha256: str


def contents(warehouse: Warehouse) -> dict[str, Content]:
    """Content of every event table, from one consistent snapshot."""
    found: dict[str, Content] = {}
    with warehouse.reading() as cursor:
        for table in TABLES.values():
            names = [row[0] for row in cursor.execute(f"SELECT * FROM {table} LIMIT 0").description or [] if row[0] not in POSITION]
            row = ", ".join(f'"{name}" := "{name}"' for name in names)
            # Sort hashes instead of rows: sorting the full rows of a million events exceeds the memory limit.
            digests = cursor.sql(f"SELECT sha256(to_json(struct_pack({row}))::VARCHAR) AS digest FROM {table} ORDER BY event_id")
            total, count = hashlib.sha256(), 0
            for batch in digests.to_arrow_reader(BATCH_ROWS):
                for digest in batch.column("digest").to_pylist():
                    total.update(digest.encode())
                count += batch.num_rows
            found[table] = Content(count, total.hexdigest())
    return found
