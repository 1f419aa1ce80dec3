"""Reads files of records row by row: JSON lines, a JSON array or CSV, gzipped or not, and selected columns of Parquet.

The format is detected from the file's first bytes; CSV is recognised by its extension, ``.csv`` or ``.tsv``.
"""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import orjson

from storage.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

ALL_COLUMNS = ("*",)
MAX_ARRAY_BYTES = 512 << 20  # a JSON array is read into memory
MAX_LINE_BYTES = 32 << 20  # a file without line breaks would not fit into memory
BATCH_ROWS = 1_000


class Unreadable(Exception):
    """A line or row that cannot be read; the ones after it can."""


Row = bytes | Mapping[str, Any] | Unreadable


def rows(path: Path, columns: Sequence[str] = ALL_COLUMNS) -> Iterator[tuple[int, Row]]:
    """Yield every non-blank line or row with its number, from 1; of Parquet only the columns that match one of the patterns.

    Raises
    ------
    ConfigurationError
        The file does not exist or cannot be read in its format.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path}: there is no such file")
    if is_parquet(path):
        yield from _parquet_rows(path, columns)
    elif is_csv(path):
        yield from _csv_rows(path)
    elif (values := _array(path)) is not None:
        yield from ((number, value if isinstance(value, Mapping) else _no_object(value)) for number, value in enumerate(values, start=1))
    else:
        yield from _text_lines(path)


def count_rows(path: Path) -> int:
    """The number of lines or rows that :func:`rows` yields."""
    if not is_parquet(path):
        return sum(1 for _ in rows(path))
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"{path}: not a readable Parquet file: {error}") from error


def is_csv(path: Path) -> bool:
    """Whether the name has a CSV or TSV extension, gzipped or not."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".csv", ".tsv"))


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet" or _magic(path) == b"PAR1"


def column_names(path: Path) -> list[str]:
    """The names of a Parquet file's columns and of the fields inside them (``chosen.role``)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"{path}: not a readable Parquet file: {error}") from error
    names: dict[str, None] = {}
    for field in schema:
        names[field.name] = None
        inner = field.type
        while hasattr(inner, "value_field"):
            inner = inner.value_type
        for i in range(inner.num_fields):
            names[f"{field.name}.{inner.field(i).name}"] = None
    return list(names)


@contextmanager
def opened_text(path: Path) -> Iterator[IO[bytes]]:
    """Open a text file, decompressing gzip.

    Raises
    ------
    ConfigurationError
        It cannot be read, for example a ``.gz`` that is not gzip or is truncated.
    """
    gzipped = path.suffix.lower() == ".gz" or _magic(path).startswith(b"\x1f\x8b")
    try:
        with gzip.open(path, "rb") if gzipped else path.open("rb") as stream:
            yield cast(IO[bytes], stream)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:
        return b""


def _text_lines(path: Path) -> Iterator[tuple[int, bytes | Unreadable]]:
    with opened_text(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield number, Unreadable(f"longer than {MAX_LINE_BYTES >> 20} MiB")
                continue
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # written by Windows editors
            if line.strip():
                yield number, line


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | Unreadable]]:
    """The rows under a header; an empty cell is a missing value. Spreadsheets write semicolons in some locales."""
    csv.field_size_limit(MAX_LINE_BYTES)
    with opened_text(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="strict", newline="")
        try:
            names = text.readline()
            separator = max(",;\t", key=names.count)
            header = next(csv.reader([names], delimiter=separator), [])
            for number, cells in enumerate(csv.reader(text, delimiter=separator), start=1):
                if len(cells) == len(header):
                    yield number, {name: cell or None for name, cell in zip(header, cells, strict=True)}
                elif cells:
                    yield number, Unreadable(f"{len(cells)} cells, but the header has {len(header)}")
        except (csv.Error, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: not readable as CSV in UTF-8: {error}") from error
        finally:
            text.detach()


def _array(path: Path) -> list[Any] | None:
    """The values of a file that is a single JSON array; None for any other file."""
    with opened_text(path) as stream:
        head = stream.read(1 << 12)
        if not head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
            return None
        text = head + stream.read(MAX_ARRAY_BYTES)
        if stream.read(1):
            raise ConfigurationError(f"{path}: a JSON array of more than {MAX_ARRAY_BYTES >> 20} MiB; write one record a line")
    try:
        found = orjson.loads(text.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, list) else None


def _no_object(value: Any) -> Unreadable:
    return Unreadable(f"expected an object, not a value of type {type(value).__name__}")


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any] | Unreadable]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            wanted = [name for name in file.schema_arrow.names if any(fnmatchcase(name, pattern) for pattern in columns)]
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                for row in _python_rows(batch, wanted):
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"{path}: not a readable Parquet file: {error}") from error


def _python_rows(batch: "pa.RecordBatch", names: list[str]) -> Iterator[Mapping[str, Any] | Unreadable]:
    """The rows of a batch; those with a value that Python cannot represent as :class:`Unreadable`."""
    columns = {name: _without_times(batch.column(batch.schema.names.index(name))) for name in names}
    try:
        lists = {name: column.to_pylist() for name, column in columns.items()}
    except (ValueError, OverflowError):  # texts that are not UTF-8, for example
        for i in range(batch.num_rows):
            yield _python_row(columns, i)
        return
    for i in range(batch.num_rows):
        yield {name: values[i] for name, values in lists.items()}


def _python_row(columns: "dict[str, pa.Array]", i: int) -> Mapping[str, Any] | Unreadable:
    row = {}
    for name, column in columns.items():
        try:
            row[name] = column[i].as_py()
        except (ValueError, OverflowError) as error:
            return Unreadable(f"{name} cannot be read: {error}")
    return row


def _without_times(column: "pa.Array") -> "pa.Array":
    """The column with integers in place of timestamps, which may lie outside Python's years 1 to 9999."""
    plain = _plain(column.type)
    return column if plain == column.type else column.cast(plain)


def _plain(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa

    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    return kind
