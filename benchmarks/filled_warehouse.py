"""A warehouse with a past, made by DuckDB itself, for what has to be quick on millions of rows."""

from pathlib import Path

from storage.warehouse.database import connect
from storage.warehouse.warehouse import Warehouse

VECTOR = "AAAAAA=="  # one zero; nobody asks for the features of long ago


def fill(path: Path, rows: int) -> None:
    """Judged pairs of long ago: pair, features, judgment and number are a row each. Ids that the product draws are in order of time."""
    Warehouse.open(path).close()
    connection = connect(path, memory_limit="4GB", threads=2, read_only=False)
    common = "1, {id}, TIMESTAMPTZ '2025-01-01' + to_seconds(i), 'product'"
    connection.execute(
        f"CREATE TEMP TABLE made AS SELECT i, uuidv7() AS pair, uuidv7() AS drawn, uuidv7() AS judged FROM range({rows // 4}) t(i)"
    )
    connection.execute(
        f"INSERT INTO pair_drawn SELECT 'feedback.pairs', 1, i, {common.format(id='drawn')}, pair, 'c-' || i, '[]', 'a', 'base', 'b',"
        " 'base', 'sampled', 1.0, 'training', 'uniform', 0, NULL FROM made"
    )
    connection.execute(
        f"INSERT INTO pair_embedded SELECT 'feedback.features', 1, i, {common.format(id='uuid()')}, pair, 'MiniLM', repeat('e', 64),"
        f" '{VECTOR}', '{VECTOR}' FROM made"
    )
    connection.execute(
        f"INSERT INTO judgment_given SELECT 'feedback.judgments', 1, i, {common.format(id='judged')}, pair, 'r-' || (i % 50), 'A', '{{}}',"
        " NULL, NULL, 'A', 1.0, true FROM made"
    )
    connection.execute(
        f"INSERT INTO preference_joined SELECT {common.format(id='uuid()')}, 1, i + 1, 1, judged, TIMESTAMPTZ '2025-01-01' + to_seconds(i),"
        f" 'product', pair, 'r-' || (i % 50), 'A', '{{}}', NULL, NULL, 'A', 1.0, true, 'training', repeat('e', 64), '{VECTOR}', '{VECTOR}'"
        " FROM made"
    )
    connection.execute("CHECKPOINT")
    connection.close()
