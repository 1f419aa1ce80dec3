"""Opening sealed texts where they are read: in events, in rows of queries, in the tables of a snapshot.

Decoding an event needs no keys, and neither does the warehouse: both hold what the log holds. Whoever needs the words opens them here.
"""

import base64
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import TextLost
from storage.events import Event
from storage.events.texts import with_texts
from storage.events.tokens import MARK, is_sealed
from storage.settings import Settings
from storage.texts.keys import TextKeys, text_keys
from storage.texts.sealed import Cipher, TextKey, kid_of, said_by

KEPT = 1.0  # seconds for which keys stay in memory: a destroyed key opens nothing after them
_MARK_IN_JSON = "\\u0002"

log = logging.getLogger(__name__)

Kind = TypeVar("Kind", bound=Event)


class Texts:
    """Opens texts and vectors that are sealed under ``keys``; what is not sealed passes. Safe to use from several threads.

    Every method raises ``TextLost`` for a text whose key is not in the store.
    """

    def __init__(self, keys: TextKeys | None = None) -> None:
        self._keys = keys
        self._ciphers: dict[str, Cipher] = {}
        self._read_at = 0.0

    @classmethod
    def of(cls, settings: Settings) -> "Texts":
        """With the keys of this installation; for a single task, after which it should be closed."""
        return cls(text_keys(settings))

    @classmethod
    def here(cls) -> "Texts":
        """With the keys of the installation that the working folder's settings and the environment name."""
        return cls.of(Settings.read())

    def opened(self, value: str) -> str:
        """The text or the group, or the vector as base64."""
        if not is_sealed(value):
            return value
        return said_by(value, self._cipher(kid_of(value)).open(value))

    def event(self, event: Kind) -> Kind:
        """The event with its texts, vectors and groups opened."""
        return with_texts(event, self.opened, everything=True)

    def groups(self, column: str | None) -> dict[str, str]:
        """A candidate's groups by attribute, from a column of JSON; those whose key is gone are not known any more. As :meth:`table`."""
        found: dict[str, str] = {}
        for attribute, group in orjson.loads(column or "{}").items():
            try:
                found[attribute] = self.opened(group)
            except TextLost:
                if self._keys is None:
                    raise
        return found

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row of a query with its texts opened; prompts are JSON in columns whose names end with ``prompt``."""
        return {name: self._of_column(name, value) if isinstance(value, str) else value for name, value in row.items()}

    def table(self, table: pa.Table) -> pa.Table:
        """As :meth:`row`, of all rows; those with a text whose key is gone are left out. Without a key store, ``TextLost``."""
        lost: set[int] = set()
        for place, field in enumerate(table.schema):
            if field.type == pa.string() and _holds_token(table[field.name]):
                values: list[str | None] = table[field.name].to_pylist()
                for row, value in enumerate(values):
                    try:
                        values[row] = value if value is None else self._of_column(field.name, value)
                    except TextLost:
                        if self._keys is None:
                            raise
                        lost.add(row)
                table = table.set_column(place, field, pa.array(values, field.type))
        if lost:
            log.warning("%d of %d rows are left out: the keys of their texts are gone", len(lost), len(table))
            table = table.filter(pa.array([row not in lost for row in range(len(table))]))
        return table

    def sealed_like(self, vector: str, token: str) -> str:
        """The vector, sealed under the key of ``token``; as it is if that is a plain text."""
        return self._cipher(kid_of(token)).seal(base64.b64decode(vector), "v") if is_sealed(token) else vector

    def sealed_under(self, kid: str, text: str) -> str:
        """The text, sealed under the key with this id, which is made where there is none; as it is without a key store."""
        if self._keys is None:
            return text
        if self._keys.get(kid) is None:
            self._keys.add([TextKey(kid, TextKey.new().secret)])
        return self._cipher(kid).seal(text.encode(), "t")

    def destroy(self, kids: Collection[str]) -> None:
        """Destroy the keys: what is sealed under them is erased. Other processes may open it for ``KEPT`` seconds more; idempotent."""
        if self._keys is not None:
            self._keys.destroy(kids)
            self._ciphers = {}

    def lost(self, kids: Iterable[str]) -> set[str]:
        """Those of the keys that are not in the store."""
        return set(kids) if self._keys is None else self._keys.missing(kids)

    @property
    def keys_place(self) -> str:
        """Where the keys are, in words."""
        return "no key store" if self._keys is None else self._keys.place

    @property
    def keys_problem(self) -> str | None:
        """What an operator has to mend before the key store can be used."""
        return None if self._keys is None else self._keys.problem

    def close(self) -> None:
        """Close the key store."""
        if self._keys is not None:
            self._keys.close()

    def _of_column(self, name: str, value: str) -> str:
        if name.endswith("prompt") and _MARK_IN_JSON in value:
            messages = [message | {"content": self.opened(message["content"])} for message in orjson.loads(value)]
            return orjson.dumps(messages).decode()
        return self.opened(value)

    def _cipher(self, kid: str) -> Cipher:
        now = time.monotonic()
        if now - self._read_at > KEPT:
            self._ciphers, self._read_at = {}, now
        cipher = self._ciphers.get(kid)
        if cipher is None:
            key = None if self._keys is None else self._keys.get(kid)
            if key is None:
                where = (
                    "no key store was given" if self._keys is None else "its key is not in the key store: it was destroyed, or not restored"
                )
                raise TextLost(f"a text is sealed under the key {kid}, and {where}")
            cipher = self._ciphers[kid] = Cipher(key)
        return cipher


def _holds_token(column: pa.ChunkedArray) -> bool:
    return any(pc.any(pc.match_substring(column, mark)).as_py() for mark in (MARK, _MARK_IN_JSON))


PLAIN = Texts()  # for logs and files without sealed texts
