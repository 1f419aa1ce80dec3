"""The warehouse: what the log said, as rows that can be asked about, and the numbers given to preferences. One process owns the file.

Batches come from ``streams.stations.sink``, which publishes what is numbered here to ``feedback.preferences``. Rows, offsets, join and
numbers of a batch are one transaction, so a process killed at any moment finds on restart the state after some whole batch.
"""

import itertools
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa

from storage.errors import WarehouseError
from storage.events import Event, HubClaimed, Numbered, PreferenceJoined, PreferenceRemoved
from storage.warehouse.database import connect, statement
from storage.warehouse.deduplication import Repeats
from storage.warehouse.entries import Applied, Entry, Fact
from storage.warehouse.inserts import Inserts, Rows
from storage.warehouse.join import Join
from storage.warehouse.join_state import incomplete_pairs, known_pairs, missed_judgments
from storage.warehouse.numbering import Numbering, read_back
from storage.warehouse.rows import POSITION, TABLES, event_of

__all__ = ["Applied", "Warehouse"]

NUMBERED = frozenset({PreferenceJoined, PreferenceRemoved})
REMEMBERED = 10_000
TOLD = NUMBERED | {HubClaimed}  # what the log says of the numbering


class Warehouse:
    """An open warehouse; safe to use from several threads. Open it with :meth:`open`."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._threads = threading.local()
        self._join: Join | None = None
        self._numbering = False
        self._epoch = self._log_epoch = self._last_sequence = 0
        self._offsets: dict[tuple[str, int], int] = {}
        self._lately: dict[int, UUID] = {}  # the ids of what was numbered last, which will soon come back from the log
        self._repeats = Repeats(np.empty(0, np.uint64))
        self._reset()

    @classmethod
    def open(
        cls, path: Path | str, *, memory_limit: str = "1GB", threads: int = 2, read_only: bool = False, patience: float = 0.0
    ) -> "Warehouse":
        """Open the file, or make it, and bring its tables up to date; ``patience`` is for how many seconds to wait for who holds it.

        Raises
        ------
        WarehouseError
            Another process holds the file, or a newer program wrote it.
        ConfigurationError
            The path cannot be a warehouse.
        """
        connection = connect(Path(path), memory_limit=memory_limit, threads=threads, read_only=read_only, patience=patience)
        try:
            return cls(Path(path), connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Let go of the file. Queries of other threads fail from here on."""
        with self._lock:
            self._join = None
            self._connection.close()

    def __enter__(self) -> "Warehouse":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def apply(self, batch: Sequence[Entry]) -> Applied:
        """Store the batch: rows, offsets, join and numbers in one transaction. Entries that were applied before are passed over.

        Before :meth:`claim_epoch` nothing is numbered and the entries of ``feedback.preferences`` are taken over as they stand on the log.

        Raises
        ------
        WarehouseError
            ``feedback.preferences`` says otherwise than what was numbered here, or another hub numbers.
        """
        with self._lock:
            with self._transaction():
                offsets = dict(self._offsets)
                unread: list[Fact] = []
                told: list[Event] = []
                unreadable = 0
                for entry in batch:
                    partition, offset, event = entry
                    if event is None:
                        unreadable += 1
                    if offset > offsets.get(partition, -1):
                        offsets[partition] = offset
                        if event is not None:
                            unread.append(entry)  # type: ignore[arg-type]  # it has an event
                            if type(event) in TOLD:
                                told.append(event)
                preferences = [fact for fact in unread if type(fact[2]) in NUMBERED] if told else []
                facts = [fact for fact in unread if type(fact[2]) not in NUMBERED] if preferences else unread
                sifted = self._repeats.sift(facts, self._stored_rows)
                self._read_back(told)
                numbered = self._join.step([event for _, _, event in sifted.fresh]) if self._join else []
                # All of Python's work before all of DuckDB's: in turns each would find what it needs pushed out of the cache by the other.
                inserts = self._inserts
                self._insert_all([*inserts.rows_of(sifted.fresh), *inserts.places_of(preferences), *inserts.rows_numbered(numbered)])
                inserts.remember(offsets, self._offsets)
            # Only what is committed is remembered; a batch that failed has reset everything that is kept in memory.
            self._offsets = offsets
            self._lately |= {preference.sequence: preference.event_id for preference in numbered}
            if len(self._lately) > 2 * REMEMBERED:
                self._lately = dict(itertools.islice(self._lately.items(), len(self._lately) - REMEMBERED, None))
            self._repeats.remember(sifted)
        passed_over = {id(fact) for fact in (*sifted.repeated, *(refusal.entry for refusal in sifted.refused))}
        stored = [fact for fact in unread if id(fact) not in passed_over] if passed_over else unread
        return Applied(
            stored=tuple([event for _, _, event in stored]),
            repeated=len(batch) - unreadable - len(stored) - len(sifted.refused),
            refused=tuple(sifted.refused),
            numbered=tuple(numbered),
        )

    def claim_epoch(self, epoch: int, *, published: int) -> tuple[Numbered, ...]:
        """Number from here on, under ``epoch``; first whatever is ready and has no number yet, which is returned.

        Parameters
        ----------
        epoch : higher than any on the log
        published : the last number on ``feedback.preferences`` (0: none); later entries have not been read by anyone and take the new epoch

        Raises
        ------
        WarehouseError
            The epoch is taken, or the log holds more than this warehouse.
        """
        with self._transaction():
            if epoch <= self.epoch:
                raise WarehouseError(f"epoch {epoch} is not above {self.epoch}, which is taken: claim a higher one")
            if published > self.last_sequence:
                raise WarehouseError(
                    f"feedback.preferences reaches entry {published} and {self.path} only {self.last_sequence}: "
                    "read the log to its end first; if that does not help, rebuild with feedbackloop replay"
                )
            self._connection.execute("UPDATE numbering SET epoch = $epoch", {"epoch": epoch})
            for table in ("preference_joined", "preference_removed"):
                self._connection.execute(
                    f"UPDATE {table} SET epoch = $epoch WHERE sequence > $published", {"epoch": epoch, "published": published}
                )
            self._numbering = True
            self._epoch = epoch
            join = self._new_join()
            numbered = join.settle(missed_judgments(self._ask))
            self._insert_all(self._inserts.rows_numbered(numbered))
            self._join = join
        return tuple(numbered)

    @property
    def last_sequence(self) -> int:
        """The last number given or read from the log; 0: none."""
        return self._join.sequence if self._join else self._last_sequence

    @property
    def epoch(self) -> int:
        """The highest epoch claimed here or seen on the log."""
        return max(self._epoch, self._log_epoch)

    @property
    def waiting(self) -> int:
        """How many judgments wait for their pair or its features; 0 before the epoch is claimed."""
        return self._join.waiting if self._join else 0

    def offsets(self) -> dict[tuple[str, int], int]:
        """The last offset dealt with, for each topic and partition where there is one."""
        return dict(self._offsets)

    def preferences_after(self, n: int, limit: int) -> list[Numbered]:
        """The numbered entries beyond ``n``, ascending, at most ``limit``, as they are to be published."""
        joined = self.query("joined_after", {"n": n, "limit": limit}).to_pylist()
        removed = self.query("removed_after", {"n": n, "limit": limit}).to_pylist()
        entries: list[Numbered] = [event_of(PreferenceJoined, row) for row in joined]
        entries += [event_of(PreferenceRemoved, row) for row in removed]
        return sorted(entries, key=lambda entry: entry.sequence)[:limit]

    def query(self, name: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The answer to ``queries/NAME.sql``, from the last committed state."""
        return self.cursor().sql(statement(name), params=dict(parameters) if parameters else None).to_arrow_table()

    @contextmanager
    def stream(self, name: str, parameters: Mapping[str, Any], rows: int) -> Iterator[pa.RecordBatchReader]:
        """The answer to ``queries/NAME.sql`` in batches of about ``rows`` rows, for answers too large for memory; all of one moment."""
        cursor = self._connection.cursor()
        try:
            yield cursor.sql(statement(name), params=dict(parameters)).to_arrow_reader(rows)
        finally:
            cursor.close()

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor whose answers are all of one moment, whatever is written meanwhile."""
        cursor = self._connection.cursor()
        cursor.begin()
        try:
            yield cursor
        finally:
            cursor.rollback()
            cursor.close()

    def events(self, *kinds: type[Event]) -> list[Event]:
        """Every stored event of the kinds, in the order of the log. For kinds of which there are few: the life of versions, runs."""
        found: list[tuple[type[Event], dict[str, Any]]] = []
        for kind in kinds:
            found += [(kind, row) for row in self.cursor().sql(f"SELECT * FROM {TABLES[kind]}").to_arrow_table().to_pylist()]
        found.sort(key=lambda one: [one[1][name] for name in POSITION])
        return [event_of(kind, row) for kind, row in found]

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """This thread's own cursor."""
        if not hasattr(self._threads, "cursor"):
            self._threads.cursor = self._connection.cursor()
        cursor: duckdb.DuckDBPyConnection = self._threads.cursor
        return cursor

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.begin()
            try:
                yield
                self._connection.commit()
            except BaseException:
                with suppress(duckdb.TransactionException):  # a commit that failed, on a full disk, has ended the transaction by itself
                    self._connection.rollback()
                self._reset()
                raise

    def _reset(self) -> None:
        """Read again everything that is kept in memory."""
        self._offsets = {(row["log_topic"], row["log_partition"]): row["log_offset"] for row in self._ask("offsets")}
        state = self._ask("numbering_state")[0]
        self._epoch = state["epoch"]
        self._log_epoch = state["log_epoch"]
        self._last_sequence = state["last_sequence"]
        self._lately = {}
        self._inserts = Inserts(self._connection)
        self._repeats = Repeats(self._sql(statement("known_ids"))["half"].to_numpy())
        self._join = self._new_join() if self._numbering else None

    def _new_join(self) -> Join:
        return Join(self._epoch, self._last_sequence, incomplete_pairs(self._ask), lambda ids: known_pairs(self._ask, ids))

    def _read_back(self, events: Sequence[Event]) -> None:
        sequences = [event.sequence for event in events if isinstance(event, PreferenceJoined | PreferenceRemoved)]
        known: Mapping[int, UUID] = self._lately
        if any(sequence not in known for sequence in sequences):
            bounds = {"low": min(sequences), "high": max(sequences)}
            known = {row["sequence"]: UUID(row["event_id"]) for row in self._ask("numbered_between", bounds)}
        place = Numbering(self._epoch, self._log_epoch, self.last_sequence, self._numbering)
        adopted, self._log_epoch = read_back(events, known, place, self.path)
        self._insert_all(self._inserts.rows_numbered(adopted))
        self._last_sequence = adopted[-1].sequence if adopted else self._last_sequence

    def _stored_rows(self, kind: type[Event], ids: Collection[UUID]) -> list[dict[str, Any]]:
        wanted = {"ids": [str(event_id) for event_id in ids]}
        text = f"SELECT * FROM {TABLES[kind]} WHERE event_id IN (SELECT unnest($ids)::UUID)"
        rows: list[dict[str, Any]] = self._sql(text, wanted).to_pylist()
        return rows

    def _insert_all(self, made: Iterable[Rows]) -> None:
        for table, rows in made:
            self._insert(table, rows)

    def _insert(self, table: str, rows: pa.Table) -> None:
        self._inserts.insert(table, rows)

    def _ask(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._sql(statement(name), parameters).to_pylist()
        return rows

    def _sql(self, text: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        return self._connection.sql(text, params=dict(parameters) if parameters else None).to_arrow_table()
