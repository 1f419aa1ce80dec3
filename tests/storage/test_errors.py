"""Transient errors are told from those that need intervention, whichever library raised them."""

import errno
import os
import sqlite3
from pathlib import Path

import duckdb
import pytest
from kafka.errors import KafkaConnectionError, SaslAuthenticationFailedError

from storage.errors import ConfigurationError, Overloaded, WarehouseError, exit_code, temporary_reason, trying_again
from storage.warehouse.warehouse import Warehouse


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/somewhere/file")


def sqlite_error(path: Path) -> sqlite3.Error:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA max_page_count = 4")
        connection.execute("CREATE TABLE filled (value BLOB)")
        try:
            connection.execute("INSERT INTO filled VALUES (zeroblob(100000))")
        except sqlite3.Error as error:
            return error
    raise AssertionError("the database took more than it may hold")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (os_error(errno.ENOSPC), "the disk is full ([Errno 28] No space left on device: '/somewhere/file')"),
        (os_error(errno.EDQUOT), "the disk quota is used up"),
        (os_error(errno.EMFILE), "too many files are open"),
        (os_error(errno.EIO), "the disk does not answer"),
        (duckdb.IOException('IO Error: Could not write file "w.duckdb.wal": No space left on device'), "the disk is full"),
        (duckdb.FatalException("FATAL Error: Failed: database has been invalidated because of a previous fatal error"), "opened again"),
        (KafkaConnectionError(), "Kafka does not answer"),
        (Overloaded("the log takes no entry"), "the log takes no entry"),
    ],
)
def test_a_transient_error_has_a_one_line_reason_and_exit_code_75(error: Exception, reason: str) -> None:
    assert reason in (temporary_reason(error) or "")
    assert exit_code(error) == 75
    with pytest.raises(Exception) as caught, trying_again():
        raise error
    assert isinstance(caught.value, Overloaded) or isinstance(error, duckdb.Error)


def test_a_full_sqlite_file_is_a_transient_error(tmp_path: Path) -> None:
    assert "the disk is full" in (temporary_reason(sqlite_error(tmp_path / "small.sqlite")) or "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (os_error(errno.EROFS), 1),
        (os_error(errno.EACCES), 1),
        (sqlite3.DatabaseError("file is not a database"), 1),
        (duckdb.BinderException("Binder Error: no such column"), 1),
        (SaslAuthenticationFailedError(), 1),
        (ValueError("x"), 1),
        (MemoryError(), 1),  # a model that is too large stays too large
        (ConfigurationError("port = 'x'"), 2),
        (WarehouseError("another hub numbers"), 1),
    ],
)
def test_an_error_that_needs_intervention_is_not_retried(error: Exception, code: int) -> None:
    assert temporary_reason(error) is None
    assert exit_code(error) == code
    with pytest.raises(type(error)), trying_again():
        raise error


def test_a_configuration_error_caused_by_a_full_disk_is_transient() -> None:
    with pytest.raises(ConfigurationError) as caught:
        raise ConfigurationError("artifacts = 'x': name a folder that can be written") from os_error(errno.ENOSPC)
    assert exit_code(caught.value) == 75


def test_a_file_that_is_not_a_warehouse_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "w.duckdb").write_text("no warehouse " * 1000)
    with pytest.raises(ConfigurationError) as caught:
        Warehouse.open(tmp_path / "w.duckdb")
    assert exit_code(caught.value) == 2
