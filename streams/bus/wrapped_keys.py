"""The keys of sealed texts as they are on Kafka, wrapped, and in the memory of a process that has read them."""

import hmac
import os
import sqlite3
import threading
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.texts.sealed import NONCE_BYTES, TextKey

TABLE = "CREATE TABLE text_key (kid TEXT PRIMARY KEY, secret BLOB NOT NULL) WITHOUT ROWID"


class Wrapping:
    """Wraps keys under a subkey of the installation's ``secret``; a key is bound to its id."""

    def __init__(self, secret: bytes) -> None:
        self._aes = AESGCM(hmac.digest(secret, b"text keys", "sha256"))

    def wrapped(self, key: TextKey) -> bytes:
        """60 bytes."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aes.encrypt(nonce, key.secret, _about(key.kid))

    def unwrapped(self, kid: str, value: bytes) -> bytes | None:
        """The secret of the key; None if it was wrapped under another secret, or altered."""
        try:
            return self._aes.decrypt(value[:NONCE_BYTES], value[NONCE_BYTES:], _about(kid))
        except (InvalidTag, ValueError):
            return None


class HeldKeys:
    """Secrets in memory by the ids of their keys; destroyed keys have an empty one. A dict takes three times as much memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._table.execute("PRAGMA secure_delete = ON")
        self._table.execute(TABLE)

    def put(self, rows: Iterable[tuple[str, bytes]]) -> None:
        with self._lock, self._table:
            self._table.execute("BEGIN")
            self._table.executemany("INSERT OR REPLACE INTO text_key VALUES (?, ?)", rows)

    def secret(self, kid: str) -> bytes | None:
        with self._lock:
            row = self._table.execute("SELECT secret FROM text_key WHERE kid = ?", (kid,)).fetchone()
        found: bytes | None = None if row is None else row[0]
        return found


def _about(kid: str) -> bytes:
    return b"text key 1:" + kid.encode()
