"""The warehouse's file: opening it, bringing its tables up to date, and the named queries. Nothing here knows what the rows mean."""

import re
import time
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb

from storage.errors import ConfigurationError, WarehouseError

HELD = re.compile(r"held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)")
LOOK_AGAIN = 0.2  # seconds


def connect(path: Path, *, memory_limit: str, threads: int, read_only: bool, patience: float = 0.0) -> duckdb.DuckDBPyConnection:
    """Open the file, or make it, and run the migrations that it has not seen.

    ``patience`` is for how many seconds another process that holds the file is waited for: it may just be stopping.

    Raises
    ------
    WarehouseError
        Another process holds the file, or a newer program wrote it.
    ConfigurationError
        The path cannot be a warehouse.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads,
        "checkpoint_threshold": "256MB",
        # A table that is missing would otherwise resolve to a Python variable of that name.
        "python_enable_replacements": False,
    }
    deadline = time.monotonic() + patience
    while True:
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = duckdb.connect(str(path), read_only=read_only, config=config)
            break
        except (duckdb.Error, OSError) as error:
            if HELD.search(str(error)) is None or time.monotonic() > deadline:
                raise _cannot_open(path, error) from error
        time.sleep(LOOK_AGAIN)
    try:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        _migrate(connection, path, read_only)
    except BaseException:
        connection.close()
        raise
    return connection


@cache
def statement(name: str) -> str:
    """The text of ``queries/NAME.sql``."""
    found = resources.files("storage.warehouse") / "queries" / f"{name}.sql"
    if not re.fullmatch(r"[a-z0-9_]+", name) or not found.is_file():
        raise ConfigurationError(f"there is no query named {name!r}; the files in storage/warehouse/queries are the names")
    return found.read_text(encoding="utf-8")


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path, read_only: bool) -> None:
    """Run the numbered files that this warehouse has not seen, each in a transaction of its own."""
    files = sorted(
        (f for f in (resources.files("storage.warehouse") / "migrations").iterdir() if f.name.endswith(".sql")), key=lambda f: f.name
    )
    if not read_only:
        connection.execute("CREATE TABLE IF NOT EXISTS migration (number INTEGER NOT NULL, name VARCHAR NOT NULL)")
    try:
        done = {number for (number,) in connection.execute("SELECT number FROM migration").fetchall()}
    except duckdb.CatalogException as error:
        raise ConfigurationError(f"{path} is a DuckDB file and no warehouse of feedbackloop: name another file") from error
    if done and max(done) > len(files):
        raise WarehouseError(
            f"{path} was written by a newer program (migration {max(done)}, this one knows {len(files)}): upgrade this program"
        )
    for number, file in enumerate(files, start=1):
        if number in done:
            continue
        connection.begin()
        connection.execute(file.read_text(encoding="utf-8"))
        connection.execute("INSERT INTO migration VALUES ($number, $name)", {"number": number, "name": file.name})
        connection.commit()


def _cannot_open(path: Path, error: Exception) -> WarehouseError | ConfigurationError:
    holder = HELD.search(str(error))
    if holder:
        return WarehouseError(
            f"{path} is held by process {holder['pid']} ({Path(holder['program']).name}): ask the hub that runs there, or stop it first"
        )
    return ConfigurationError(f"{path} cannot be opened as a warehouse: {str(error).splitlines()[0]}")
