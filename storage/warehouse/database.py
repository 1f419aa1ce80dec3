"""The DuckDB file: opening it, migrations, and named queries. Independent of what the rows mean."""

import re
import time
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb

from storage.errors import ConfigurationError, WarehouseError

LOCKED_BY = re.compile(r"held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)")
RETRY_INTERVAL = 0.2  # seconds
RECORD = "INSERT INTO migration VALUES ($number, $name)"


def connect(path: Path, *, memory_limit: str, threads: int, read_only: bool, patience: float = 0.0) -> duckdb.DuckDBPyConnection:
    """Open or create the file and apply pending migrations.

    ``patience`` is how many seconds to wait for another process to release the file; it may be shutting down.

    Raises
    ------
    WarehouseError
        Another process holds the file, or a newer program wrote it.
    ConfigurationError
        The path cannot be opened as a warehouse.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads,
        "checkpoint_threshold": "256MB",
        # Otherwise a missing table resolves to a Python variable of the same name.
        "python_enable_replacements": False,
    }
    deadline = time.monotonic() + patience
    while True:
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = duckdb.connect(str(path), read_only=read_only, config=config)
        except (duckdb.Error, OSError) as error:
            if LOCKED_BY.search(str(error)) is None or time.monotonic() > deadline:
                raise _cannot_open(path, error) from error
            time.sleep(RETRY_INTERVAL)
            continue
        try:
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            dropped = _migrate(connection, path, read_only)
        except BaseException:
            connection.close()
            raise
        if dropped is None:
            return connection
        connection.close()
        _rewrite(path, dropped, config)


@cache
def statement(name: str) -> str:
    """The text of ``queries/NAME.sql``."""
    file = resources.files("storage.warehouse") / "queries" / f"{name}.sql"
    if not re.fullmatch(r"[a-z0-9_]+", name) or not file.is_file():
        raise ConfigurationError(f"there is no query named {name!r}; see the files in storage/warehouse/queries")
    return file.read_text(encoding="utf-8")


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path, read_only: bool) -> tuple[int, str] | None:
    """Apply pending migrations, each in its own transaction, up to one that drops a column.

    The number and name of that one are returned, not recorded: it is applied when :func:`_rewrite` has written the file anew.
    """
    files = sorted(
        (f for f in (resources.files("storage.warehouse") / "migrations").iterdir() if f.name.endswith(".sql")), key=lambda f: f.name
    )
    if not read_only:
        connection.execute("CREATE TABLE IF NOT EXISTS migration (number INTEGER NOT NULL, name VARCHAR NOT NULL)")
    try:
        done = {number for (number,) in connection.execute("SELECT number FROM migration").fetchall()}
    except duckdb.CatalogException as error:
        raise ConfigurationError(f"{path} is a DuckDB file but not a feedbackloop warehouse: name another file") from error
    if done and max(done) > len(files):
        raise WarehouseError(
            f"{path} was written by a newer program (migration {max(done)}; this one knows {len(files)}): upgrade this program"
        )
    for number, file in enumerate(files, start=1):
        if number in done:
            continue
        text = file.read_text(encoding="utf-8")
        drops = bool(done) and "DROP COLUMN" in text  # a new file has nothing to lose
        connection.begin()
        connection.execute(text)
        if not drops:
            connection.execute(RECORD, {"number": number, "name": file.name})
        connection.commit()
        if drops:
            return number, file.name
    return None


def _rewrite(path: Path, migration: tuple[int, str], config: dict[str, str | bool | int | float | list[str]]) -> None:
    """Copy what the file holds to a new one in its place: DuckDB leaves what was dropped in free blocks, even after VACUUM."""
    fresh = path.with_name(f".new-{path.name}")
    fresh.unlink(missing_ok=True)
    with duckdb.connect(config=config) as both:
        both.execute("ATTACH $path AS old (READ_ONLY)", {"path": str(path)})
        both.execute("ATTACH $path AS fresh", {"path": str(fresh)})
        both.execute("COPY FROM DATABASE old TO fresh")
        both.execute("USE fresh")
        both.execute(RECORD, {"number": migration[0], "name": migration[1]})
        both.execute("USE memory")
    fresh.replace(path)


def _cannot_open(path: Path, error: Exception) -> WarehouseError | ConfigurationError:
    holder = LOCKED_BY.search(str(error))
    if holder:
        return WarehouseError(
            f"{path} is held by process {holder['pid']} ({Path(holder['program']).name}): ask the hub that runs there, or stop it first"
        )
    return ConfigurationError(f"{path} cannot be opened as a warehouse: {str(error).splitlines()[0]}")
