"""The warehouse: the events of the log as DuckDB tables, and the sequence numbers of preferences. One process owns the file.

Batches come from ``streams.stations.sink``, which publishes the numbered preferences to ``feedback.preferences``. Rows, offsets, join and
numbers of a batch are one transaction, so after a crash at any moment the state is that after some complete batch.
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
from storage.events import Event, HubClaimed, Numbered, PreferenceJoined, PreferenceRemoved, now
from storage.warehouse.database import connect, statement
from storage.warehouse.deduplication import Deduplicator
from storage.warehouse.entries import Applied, Entry, Fact
from storage.warehouse.erasure import Eraser, Reached
from storage.warehouse.inserts import Inserts, Rows
from storage.warehouse.join import Join
from storage.warehouse.join_state import incomplete_pairs, known_pairs, missed_judgments
from storage.warehouse.numbering import Numbering, read_back
from storage.warehouse.rows import POSITION, TABLES, event_of

__all__ = ["Applied", "Warehouse"]

NUMBERED = frozenset({PreferenceJoined, PreferenceRemoved})
RECENT_IDS = 10_000
NUMBERING_EVENTS = NUMBERED | {HubClaimed}


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
        self._recent_ids: dict[int, UUID] = {}  # sequence → id of the latest preferences, which are about to be read back from the log
        self._deduplicator = Deduplicator(np.empty(0, np.uint64))
        self._reset()

    @classmethod
    def open(
        cls, path: Path | str, *, memory_limit: str = "1GB", threads: int = 2, read_only: bool = False, patience: float = 0.0
    ) -> "Warehouse":
        """Open or create the file and migrate it; ``patience`` is how many seconds to wait for another process to release it.

        Raises
        ------
        WarehouseError
            Another process holds the file, or a newer program wrote it.
        ConfigurationError
            The path cannot be opened as a warehouse.
        """
        connection = connect(Path(path), memory_limit=memory_limit, threads=threads, read_only=read_only, patience=patience)
        try:
            return cls(Path(path), connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the file. Queries of other threads fail afterwards."""
        with self._lock:
            self._join = None
            self._connection.close()

    def __enter__(self) -> "Warehouse":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def apply(self, batch: Sequence[Entry]) -> Applied:
        """Store a batch: rows, offsets, join and numbers in one transaction. Idempotent: entries that were applied before are skipped.

        Before :meth:`claim_epoch` nothing is numbered, and entries of ``feedback.preferences`` are adopted from the log.

        Raises
        ------
        WarehouseError
            ``feedback.preferences`` disagrees with the warehouse, or another hub has claimed a higher epoch.
        """
        with self._lock:
            with self._transaction():
                offsets = dict(self._offsets)
                unread: list[Fact] = []
                numbering_events: list[Event] = []
                unreadable = 0
                for entry in batch:
                    partition, offset, event = entry
                    if event is None:
                        unreadable += 1
                    if offset > offsets.get(partition, -1):
                        offsets[partition] = offset
                        if event is not None:
                            unread.append(entry)  # type: ignore[arg-type]  # it has an event
                            if type(event) in NUMBERING_EVENTS:
                                numbering_events.append(event)
                preferences = [fact for fact in unread if type(fact[2]) in NUMBERED] if numbering_events else []
                facts = [fact for fact in unread if type(fact[2]) not in NUMBERED] if preferences else unread
                split = self._deduplicator.split(facts, self._stored_rows)
                self._read_back(numbering_events)
                self._insert_all(self._inserts.rows_repeated((*split.repeated, *(refusal.entry for refusal in split.refused))))
                reached = self._eraser.step(split.fresh)
                self._insert_all(self._inserts.rows_erased(reached.names))
                numbered = self._number(reached)
                # Build all rows first, then insert them: alternating would evict Python's data and DuckDB's from the CPU cache in turn.
                inserts = self._inserts
                self._insert_all(
                    [
                        *inserts.rows_of(reached.kept),
                        *inserts.log_positions_of(preferences),
                        *inserts.rows_numbered(numbered),
                    ]
                )
                inserts.store_offsets(offsets, self._offsets)
            # Update in-memory state only after the commit; a failed batch has reset it from the tables.
            self._offsets = offsets
            self._recent_ids |= {preference.sequence: preference.event_id for preference in numbered}
            if len(self._recent_ids) > 2 * RECENT_IDS:
                self._recent_ids = dict(itertools.islice(self._recent_ids.items(), len(self._recent_ids) - RECENT_IDS, None))
            self._deduplicator.remember(split)
        skipped = {id(fact) for fact in (*split.repeated, *(refusal.entry for refusal in split.refused), *reached.dropped)}
        stored = [fact for fact in unread if id(fact) not in skipped] if skipped else unread
        return Applied(
            stored=tuple([event for _, _, event in stored]),
            repeated=len(batch) - unreadable - len(stored) - len(split.refused) - len(reached.dropped),
            refused=tuple(split.refused),
            numbered=tuple(numbered),
            dropped=len(reached.dropped),
            deleted=reached.deleted,
        )

    def claim_epoch(self, epoch: int, *, published: int) -> tuple[Numbered, ...]:
        """Start numbering under ``epoch``; return the entries numbered for judgments stored before.

        Parameters
        ----------
        epoch : higher than any on the log
        published : the last number on ``feedback.preferences`` (0 if none); later ones are unpublished and get the new epoch

        Raises
        ------
        WarehouseError
            The epoch is taken, or the log is ahead of this warehouse.
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
            numbered = [*join.remove(self._ask("erased_standing"), now()), *join.settle(missed_judgments(self._ask))]
            self._insert_all(self._inserts.rows_numbered(numbered))
            self._join = join
        return tuple(numbered)

    @property
    def last_sequence(self) -> int:
        """The last number assigned or read from the log; 0 if none."""
        return self._join.sequence if self._join else self._last_sequence

    @property
    def epoch(self) -> int:
        """The highest epoch claimed here or on the log."""
        return max(self._epoch, self._log_epoch)

    @property
    def waiting(self) -> int:
        """Number of judgments waiting for their pair or its features; 0 before the epoch is claimed."""
        return self._join.waiting if self._join else 0

    def offsets(self) -> dict[tuple[str, int], int]:
        """The last processed offset by (topic, partition)."""
        return dict(self._offsets)

    def preferences_after(self, n: int, limit: int) -> list[Numbered]:
        """Up to ``limit`` numbered entries after ``n``, in ascending order, ready to publish."""
        joined = self.query("joined_after", {"n": n, "limit": limit}).to_pylist()
        removed = self.query("removed_after", {"n": n, "limit": limit}).to_pylist()
        entries: list[Numbered] = [event_of(PreferenceJoined, row) for row in joined]
        entries += [event_of(PreferenceRemoved, row) for row in removed]
        return sorted(entries, key=lambda entry: entry.sequence)[:limit]

    def query(self, name: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run ``queries/NAME.sql`` on the last committed state."""
        return self.cursor().sql(statement(name), params=dict(parameters) if parameters else None).to_arrow_table()

    @contextmanager
    def stream(self, name: str, parameters: Mapping[str, Any], rows: int) -> Iterator[pa.RecordBatchReader]:
        """Run ``queries/NAME.sql`` and stream the result in batches of about ``rows`` rows, from one consistent snapshot."""
        cursor = self._connection.cursor()
        try:
            yield cursor.sql(statement(name), params=dict(parameters)).to_arrow_reader(rows)
        finally:
            cursor.close()

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor in a read transaction: all its queries see the same snapshot."""
        cursor = self._connection.cursor()
        cursor.begin()
        try:
            yield cursor
        finally:
            cursor.rollback()
            cursor.close()

    def events(self, *kinds: type[Event]) -> list[Event]:
        """All stored events of the kinds, in log order. Only for kinds with few events, such as versions and runs."""
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
                with suppress(duckdb.TransactionException):  # a failed commit (full disk) has already ended the transaction
                    self._connection.rollback()
                self._reset()
                raise

    def _reset(self) -> None:
        """Reload all in-memory state from the tables."""
        self._offsets = {(row["log_topic"], row["log_partition"]): row["log_offset"] for row in self._ask("offsets")}
        state = self._ask("numbering_state")[0]
        self._epoch = state["epoch"]
        self._log_epoch = state["log_epoch"]
        self._last_sequence = state["last_sequence"]
        self._recent_ids = {}
        self._inserts = Inserts(self._connection)
        self._deduplicator = Deduplicator(self._sql(statement("known_ids"))["half"].to_numpy())
        self._eraser = Eraser(self._connection)
        self._join = self._new_join() if self._numbering else None

    def _number(self, reached: Reached) -> list[Numbered]:
        """Number the removals of what is erased, then the preferences of the batch."""
        if self._join is None:
            return []
        pairs, recruiters = reached.of("pair"), reached.of("recruiter")
        removals: list[Numbered] = []
        if pairs or recruiters:
            self._join.forget((UUID(pair).int for pair in pairs), recruiters)
            removals = self._join.remove(self._ask("erased_standing"), now())
        return removals + self._join.step([event for _, _, event in reached.kept])

    def _new_join(self) -> Join:
        return Join(self._epoch, self._last_sequence, incomplete_pairs(self._ask), lambda ids: known_pairs(self._ask, ids))

    def _read_back(self, events: Sequence[Event]) -> None:
        sequences = [event.sequence for event in events if isinstance(event, PreferenceJoined | PreferenceRemoved)]
        known: Mapping[int, UUID] = self._recent_ids
        if any(sequence not in known for sequence in sequences):
            bounds = {"low": min(sequences), "high": max(sequences)}
            known = {row["sequence"]: UUID(row["event_id"]) for row in self._ask("numbered_between", bounds)}
        state = Numbering(self._epoch, self._log_epoch, self.last_sequence, self._numbering)
        adopted, self._log_epoch = read_back(events, known, state, self.path)
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
