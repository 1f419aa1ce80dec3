"""Compares the warehouse with the log, id by id and column by column, in batches, against one consistent snapshot of the warehouse.

Events of erased people are expected to have no row, and nobody may be erased of whom the log does not say so. Used by ``feedbackloop
verify`` and the hub's ``/v1/verify``. Each event on the log is converted to a row and compared with the stored one; numbered preferences
are compared with ``feedback.preferences``.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Literal
from uuid import UUID

import duckdb
from pydantic import BaseModel, ConfigDict

from storage.errors import EventUnreadable, SchemaTooNew
from storage.events import Event, HubClaimed, PreferenceJoined, PreferenceRemoved
from storage.events.wire import decode
from storage.warehouse.database import statement
from storage.warehouse.erasure import Erased, Name
from storage.warehouse.inserts import LOGGED
from storage.warehouse.rows import TABLES, row_of
from storage.warehouse.warehouse import Warehouse

BATCH = 2_000
NUMBERED = (PreferenceJoined, PreferenceRemoved)
POSITIONED_TABLES = {kind: table for kind, table in TABLES.items() if kind not in NUMBERED}

What = Literal["missing", "doubled", "altered", "unknown", "offset", "preference", "derived", "artifact", "state", "erased", "signature"]
LogEntry = tuple[str, int, int, bytes]
Row = dict[str, Any]
EventIn = Callable[[LogEntry], Event]


class Finding(BaseModel):
    """One difference between log and warehouse, or derived data that does not follow from its sources.

    ``where`` is topic/partition/offset, or the table, number, artifact or file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: What
    where: str
    event_id: UUID | None
    words: str


class Report(BaseModel):
    """Result of a verification.

    Attributes
    ----------
    entries : number of log entries compared
    unreadable : number of these that are not events, and so have no rows
    behind : number of log entries that the warehouse has not read yet; not compared
    unpublished : number of preferences in the warehouse that are not on the log yet
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: int
    unreadable: int
    behind: int
    unpublished: int
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        return not self.findings


def verify(warehouse: Warehouse, log: Iterable[LogEntry], event_in: EventIn = lambda entry: decode(entry[3])) -> Report:
    """Compare the whole log with the warehouse.

    ``log`` yields (topic, partition, offset, value), each partition in order. ``event_in`` decodes an entry as the readers of the log do;
    it raises ``EventUnreadable`` if they would not accept it. Memory holds one batch of the log with its rows.
    """
    with warehouse.reading() as cursor:
        return _Comparison(cursor, event_in).run(log)


class _Comparison:
    def __init__(self, cursor: duckdb.DuckDBPyConnection, event_in: EventIn) -> None:
        self._cursor, self._event_in = cursor, event_in
        self._findings: dict[tuple[What, str], Finding] = {}
        self._entries = self._unreadable = self._behind = 0
        self._read = {(row["log_topic"], row["log_partition"]): row["log_offset"] for row in self._rows(statement("offsets"))}
        self._last: dict[tuple[str, int], int] = defaultdict(lambda: -1)  # last offset seen on the log
        self._tables: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)  # by partition: table → offset of its last row
        for table in (*POSITIONED_TABLES.values(), LOGGED):
            text = f"SELECT log_topic, log_partition, max(log_offset) AS last FROM {table} GROUP BY ALL"
            for row in self._rows(text):
                self._tables[row["log_topic"], row["log_partition"]][table] = row["last"]
        self._erased = Erased((row["what"], row["name"]) for row in self._rows(statement("erased")))
        self._justified: set[Name] = set()  # erased names that follow from the log
        self._epoch = self._tail = 0
        self._claimed: set[int] = set()

    def run(self, log: Iterable[LogEntry]) -> Report:
        entries = iter(log)
        while batch := list(islice(entries, BATCH)):
            partitions: dict[tuple[str, int], list[LogEntry]] = defaultdict(list)
            for entry in batch:
                partitions[entry[:2]].append(entry)
            for partition, part in partitions.items():
                self._compare(partition, part)
        self._compare_ends()
        self._compare_erased()
        unpublished = self._compare_numbers()
        return Report(
            entries=self._entries,
            unreadable=self._unreadable,
            behind=self._behind,
            unpublished=unpublished,
            findings=tuple(sorted(self._findings.values(), key=lambda finding: (finding.what, finding.where))),
        )

    def _compare(self, partition: tuple[str, int], entries: Sequence[LogEntry]) -> None:
        read = self._read.get(partition, -1)
        stored = self._stored(partition, self._last[partition] + 1, entries[-1][2])
        self._last[partition] = entries[-1][2]
        absent: dict[str, list[tuple[str, Event]]] = defaultdict(list)
        numbered: list[PreferenceJoined | PreferenceRemoved] = []
        for entry in entries:
            topic, number, offset, _ = entry
            where = f"{topic}/{number}/{offset}"
            rows = stored.pop(offset, [])
            event, expected = self._expected(entry)
            if isinstance(event, HubClaimed):
                self._epoch = max(self._epoch, event.epoch)
                self._claimed.add(event.epoch)
            effective = isinstance(event, NUMBERED) and event.epoch >= self._epoch and event.sequence > self._tail
            if isinstance(event, NUMBERED) and effective:
                if event.sequence != self._tail + 1:
                    self._add_finding("preference", f"preference {self._tail + 1}", None, f"the log continues with number {event.sequence}")
                self._tail = event.sequence
            if offset > read:
                self._behind += 1
                continue
            self._entries += 1
            if event is None:
                self._unreadable += 1
                for _, row in rows:
                    self._add_finding("unknown", where, row["event_id"], "there is a row, but the log has no readable event at this offset")
                continue
            if isinstance(event, NUMBERED) and effective:
                numbered.append(event)
            self._justified |= set(self._erased.names_from(event, expected))
            if self._erased.covers(event):
                for _, row in rows:
                    self._add_finding("erased", where, row["event_id"], f"the row of an erased {event.kind} is still there")
                continue
            if not rows:
                absent[LOGGED if isinstance(event, NUMBERED) else POSITIONED_TABLES[type(event)]].append((where, event))
            if len(rows) > 1:
                self._add_finding("doubled", where, event.event_id, f"there are {len(rows)} rows for this event")
            for _, row in rows[:1]:
                if differing := [name for name, content in expected.items() if row.get(name) != content]:
                    self._add_finding("altered", where, event.event_id, f"the row differs from the log in {', '.join(differing)}")
        for offset, rows in stored.items():
            for table, row in rows:
                self._add_finding(
                    "unknown", f"{partition[0]}/{partition[1]}/{offset}", row["event_id"], f"a row of {table} without an entry on the log"
                )
        self._report_absent(absent)
        self._compare_numbered(numbered)

    def _stored(self, partition: tuple[str, int], low: int, high: int) -> dict[int, list[tuple[str, Row]]]:
        """Rows of the offsets from ``low`` to ``high``, with their tables."""
        found: dict[int, list[tuple[str, Row]]] = defaultdict(list)
        for table in self._tables.get(partition, {}):
            text = f"SELECT * FROM {table} WHERE log_topic = $topic AND log_partition = $number AND log_offset BETWEEN $low AND $high"
            for row in self._rows(text, {"topic": partition[0], "number": partition[1], "low": low, "high": high}):
                found[row["log_offset"]].append((table, row))
        return found

    def _report_absent(self, absent: dict[str, list[tuple[str, Event]]]) -> None:
        """An event without a row at its offset is a duplicate if its id has a row elsewhere, and missing otherwise."""
        for table, events in absent.items():
            unknown = {str(event.event_id) for _, event in events}
            for other in () if table == LOGGED else (table, *POSITIONED_TABLES.values()):  # an id reused by another kind
                if unknown:
                    text = f"SELECT event_id FROM {other} WHERE event_id IN (SELECT unnest($ids)::UUID)"
                    unknown -= {row["event_id"] for row in self._rows(text, {"ids": list(unknown)})}
            for where, event in events:
                if str(event.event_id) in unknown:
                    self._add_finding("missing", where, event.event_id, f"this {event.kind} is on the log but not in the warehouse")

    def _compare_numbered(self, events: Sequence[PreferenceJoined | PreferenceRemoved]) -> None:
        if not events:
            return
        bounds = {"low": events[0].sequence, "high": events[-1].sequence}
        rows: dict[int, list[tuple[str, Row]]] = defaultdict(list)
        for kind in NUMBERED:
            for row in self._rows(f"SELECT * FROM {TABLES[kind]} WHERE sequence BETWEEN $low AND $high", bounds):
                rows[row["sequence"]].append((TABLES[kind], row))
        for event in events:
            where = f"preference {event.sequence}"
            here = rows.get(event.sequence, [])
            if not here:
                self._add_finding("preference", where, event.event_id, "it is on the log but not in the warehouse")
            for table, row in here[:1]:
                expected = row_of(event)
                if table != TABLES[type(event)]:
                    self._add_finding("preference", where, event.event_id, f"it is a {event.kind} on the log but a row of {table} here")
                elif differing := [name for name, content in expected.items() if row[name] != content]:
                    self._add_finding("preference", where, event.event_id, f"the row differs from the log in {', '.join(differing)}")

    def _compare_ends(self) -> None:
        """Check for rows beyond the end of the log, duplicate ids, and wrong stored offsets."""
        for partition in {*self._tables, *self._read}:
            topic, number = partition
            where = f"{topic}/{number}"
            last = max(self._tables.get(partition, {}).values(), default=-1)
            if last > self._last[partition]:
                for offset, rows in self._stored(partition, self._last[partition] + 1, last).items():
                    for table, row in rows:
                        self._add_finding("unknown", f"{where}/{offset}", row["event_id"], f"a row of {table} beyond the end of the log")
            read = self._read.get(partition, -1)
            if read < last:
                self._add_finding("offset", where, None, f"the stored offset is {read}, but there are rows up to {last}")
            if read > self._last[partition]:
                self._add_finding("offset", where, None, f"the stored offset is {read}, but the log ends at {self._last[partition]}")
        for table in POSITIONED_TABLES.values():
            for row in self._rows(f"SELECT event_id, count(*) AS n FROM {table} GROUP BY event_id HAVING n > 1"):
                self._add_finding("doubled", table, row["event_id"], f"{row['n']} rows of {table} have this id")

    def _compare_erased(self) -> None:
        """Check that exactly the names are erased that follow from the log."""
        here = {(what, name) for what, names in self._erased.names.items() for name in names}
        for what, name in here - self._justified:
            self._add_finding("erased", f"{what} {name}", None, "it is erased in the warehouse, and no entry of the log says so")
        for what, name in self._justified - here:
            self._add_finding("erased", f"{what} {name}", None, "it is erased by an entry of the log, and the warehouse does not say so")

    def _compare_numbers(self) -> int:
        """Check for duplicate and missing sequence numbers; return how many are not published yet."""
        numbering = self._rows(statement("numbering_state"))[0]
        if numbering["epoch"] and numbering["epoch"] not in self._claimed:
            self._add_finding(
                "state", "numbering", None, f"the warehouse numbers under epoch {numbering['epoch']}, which is not claimed on the log"
            )
        for row in self._rows(statement("numbers_doubled")):
            self._add_finding("preference", f"preference {row['sequence']}", row["event_id"], f"{row['n']} rows have this number")
        beyond = self._rows(statement("numbers_beyond"), {"n": self._tail})[0]
        if beyond["n"] and beyond["last"] - self._tail != beyond["n"]:
            self._add_finding(
                "preference", f"preference {self._tail + 1} to {beyond['last']}", None, f"only {beyond['n']} of these numbers exist"
            )
        unpublished: int = beyond["n"]
        return unpublished

    def _add_finding(self, what: What, where: str, event_id: UUID | str | None, words: str) -> None:
        finding = Finding(what=what, where=where, event_id=UUID(str(event_id)) if event_id else None, words=words)
        self._findings.setdefault((what, str(event_id or where)), finding)

    def _expected(self, entry: LogEntry) -> tuple[Event | None, Row]:
        """The event of a log entry and its expected row without position columns; (None, {}) if it cannot be stored."""
        try:
            event = self._event_in(entry)
            row = row_of(event)
        except (EventUnreadable, SchemaTooNew):
            return None, {}
        if isinstance(event, NUMBERED):
            return event, {"event_id": str(event.event_id), "epoch": event.epoch, "sequence": event.sequence}
        return event, row

    def _rows(self, text: str, parameters: Row | None = None) -> list[Row]:
        rows: list[Row] = self._cursor.sql(text, params=parameters).to_arrow_table().to_pylist()
        return rows
