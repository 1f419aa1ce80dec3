"""What an erasure reaches: the warehouse holds all events minus those of erased people, in whatever order the topics arrive.

A ``PersonErased`` names a candidate, a recruiter or a conversation, or one record of a decision or of groups. Events with an erased name
are neither stored nor kept, and take further names with them: a candidate's replies their conversations, and these their replies and pairs.
So judgments of a pair go with the pair, even if it arrives after them. Numbered preferences stay, because their numbers have to be whole;
``PreferenceRemoved`` takes them out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

import duckdb
import orjson

from storage.events import (
    Event,
    GroupsRecorded,
    InterventionMade,
    JudgmentGiven,
    OutcomeRecorded,
    PairDrawn,
    PairEmbedded,
    PersonErased,
    ReplySent,
    ResponseEdited,
    ResponseRated,
)
from storage.events.tokens import is_sealed
from storage.warehouse.database import statement
from storage.warehouse.deduplication import TOKEN_IN_ROW
from storage.warehouse.entries import Fact
from storage.warehouse.rows import TABLES, columns_of, row_of

What = Literal["candidate", "recruiter", "conversation", "record", "reply", "pair", "key", "plain"]  # plain: an event with an unsealed text
Name = tuple[What, str]
Row = Mapping[str, Any]

TYPES: dict[What, str] = {"record": "::UUID", "reply": "::UUID", "pair": "::UUID"}  # of the columns; all others are text

# by kind: the columns whose names erase a row
COVERED_BY: dict[type[Event], dict[str, What]] = {
    ReplySent: {"candidate": "candidate", "conversation_id": "conversation"},
    InterventionMade: {"conversation_id": "conversation", "about": "reply"},
    PairDrawn: {"conversation_id": "conversation", "pair_id": "pair", "a_version": "recruiter", "b_version": "recruiter"},  # of a rewrite
    PairEmbedded: {"pair_id": "pair"},
    JudgmentGiven: {"pair_id": "pair", "recruiter": "recruiter"},
    ResponseRated: {"conversation_id": "conversation", "reply_id": "reply", "recruiter": "recruiter"},
    ResponseEdited: {
        "conversation_id": "conversation",
        "reply_id": "reply",
        "original_pair": "pair",
        "pair_id": "pair",
        "recruiter": "recruiter",
    },
    GroupsRecorded: {"candidate": "candidate", "event_id": "record"},
    OutcomeRecorded: {"candidate": "candidate", "event_id": "record"},
}
# by kind: (column with an erased name, column whose name is erased with it), in this order
TAKEN_ALONG: dict[type[Event], tuple[tuple[str, tuple[str, What]], ...]] = {
    ReplySent: (("candidate", ("conversation_id", "conversation")), ("conversation_id", ("event_id", "reply"))),
    PairDrawn: tuple((column, ("pair_id", "pair")) for column in ("conversation_id", "a_version", "b_version")),
    ResponseEdited: tuple((column, ("pair_id", "pair")) for column in ("conversation_id", "reply_id", "original_pair", "recruiter")),
}
# by kind: the columns with an erased name for which the keys of the row's texts are destroyed. The pair of a rewrite has copies of a
# candidate's words, whose key goes only with the conversation.
KEYS_GO_WITH: dict[type[Event], tuple[str, ...]] = {
    ReplySent: ("conversation_id",),
    PairDrawn: ("conversation_id",),
    **{kind: tuple(COVERED_BY[kind]) for kind in (JudgmentGiven, ResponseRated, ResponseEdited, GroupsRecorded)},
}
# by kind: the columns with a text of its own, or with groups, beside prompts, which are sealed with them
TEXTS: dict[type[Event], tuple[str, ...]] = {
    ReplySent: ("reply",),
    PairDrawn: ("a_text", "b_text"),
    JudgmentGiven: ("reason",),
    ResponseRated: ("comment", "reason"),
    ResponseEdited: ("edited",),
    GroupsRecorded: ("groups",),
}
_READERS = {
    kind: [(column.read, names[column.name]) for column in columns_of(kind) if column.name in names] for kind, names in COVERED_BY.items()
}


class Erased:
    """The erased names, in memory as in the table ``erased``."""

    def __init__(self, names: Iterable[Name] = ()) -> None:
        self.names: dict[str, set[str]] = defaultdict(set)
        for what, name in names:
            self.names[what].add(name)

    def covers(self, event: Event) -> bool:
        """Whether the event has an erased name."""
        return any(bool(self.names[what]) and _text(read(event)) in self.names[what] for read, what in _READERS.get(type(event), ()))

    def taken_along(self, kind: type[Event], row: Row) -> list[Name]:
        """The names that a row takes with it, in an order in which each follows from those before; whether new or not."""
        found: list[Name] = []
        for cause, (column, what) in TAKEN_ALONG.get(kind, ()):
            name: Name = COVERED_BY[kind][cause], _text(row[cause])
            if name[1] in self.names[name[0]] or name in found:
                found.append((what, _text(row[column])))
        return found

    def takes_keys(self, kind: type[Event], row: Row) -> bool:
        """Whether the keys of the row's texts go with it."""
        return any(_text(row[column]) in self.names[COVERED_BY[kind][column]] for column in KEYS_GO_WITH.get(kind, ()))

    def names_from(self, event: Event, row: Row) -> Iterator[Name]:
        """All names that an event, with its row, says are erased, given these names."""
        if isinstance(event, PersonErased):
            yield event.what, event.name
        yield from self.taken_along(type(event), row)
        if self.takes_keys(type(event), row):
            yield from remains_of(type(event), row)

    def add(self, names: Iterable[Name]) -> list[Name]:
        """Add the names; return those that are new."""
        new = [(what, name) for what, name in dict.fromkeys(names) if name not in self.names[what]]
        for what, name in new:
            self.names[what].add(name)
        return new


class Eraser:
    """Applies erasures to a batch and to the stored rows, inside the batch's transaction. Make it anew after a rollback."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.erased = Erased(connection.execute(statement("erased")).fetchall())

    def step(self, facts: Sequence[Fact]) -> "Reached":
        """Delete the stored rows that the erasures among ``facts`` reach, and part the facts."""
        erased = self.erased
        new = erased.add([(event.what, event.name) for _, _, event in facts if type(event) is PersonErased])
        if not any(erased.names.values()):
            return Reached(facts, (), (), 0)
        grown, kept, dropped, deleted = list(new), list(facts), [], 0
        while True:
            gone = [fact for fact in kept if erased.covers(fact[2])]
            kept = [fact for fact in kept if not erased.covers(fact[2])] if gone else kept
            dropped += gone
            stored = self._delete(new) if new else []
            deleted += len(stored)
            rows = [*((type(event), row_of(event)) for _, _, event in gone), *stored]
            new = erased.add(name for kind, row in rows for name in erased.taken_along(kind, row))
            grown += [*new, *erased.add(self._remains([each for each in rows if erased.takes_keys(*each)]))]
            if not new:
                return Reached(kept, dropped, grown, deleted)

    def _remains(self, rows: Sequence[tuple[type[Event], Row]]) -> Iterator[Name]:
        """As :func:`remains_of`, of the rows and of their repeats."""
        for kind, row in rows:
            yield from remains_of(kind, row)
        if rows:
            repeated = self._connection.execute(statement("repeated_keys"), {"ids": [str(row["event_id"]) for _, row in rows]})
            yield from (("key", kid) for (kid,) in repeated.fetchall())

    def _delete(self, names: Sequence[Name]) -> list[tuple[type[Event], Row]]:
        """Delete the stored rows with one of these names, and return them."""
        wanted: dict[What, list[str]] = defaultdict(list)
        for what, name in names:
            wanted[what].append(name)
        rows: list[tuple[type[Event], Row]] = []
        for kind, columns in COVERED_BY.items():
            asked = {what: wanted[what] for what in columns.values() if what in wanted}
            if asked:
                named = (f"{column} IN (SELECT unnest(${what}){TYPES.get(what, '')})" for column, what in columns.items() if what in asked)
                text = f"DELETE FROM {TABLES[kind]} WHERE {' OR '.join(named)} RETURNING *"
                rows += [(kind, row) for row in self._connection.sql(text, params=asked).to_arrow_table().to_pylist()]
        return rows


class Reached(NamedTuple):
    """What the erasures left of a batch: facts to store, facts not to store, names newly erased, and the number of rows deleted."""

    kept: Sequence[Fact]
    dropped: Sequence[Fact]
    names: Sequence[Name]
    deleted: int

    def of(self, what: What) -> set[str]:
        """The newly erased names of this sort."""
        return {name for each, name in self.names if each == what}


def keys_in(row: Row) -> set[str]:
    """The ids of the keys under which the row's texts are sealed."""
    return {kid for value in row.values() if isinstance(value, str) for kid in TOKEN_IN_ROW.findall(value)}


def remains_of(kind: type[Event], row: Row) -> Iterator[Name]:
    """What an erased row leaves on the log: texts whose keys have to be destroyed, or an event with a plain text."""
    yield from (("key", kid) for kid in keys_in(row))
    texts = [row[column] for column in TEXTS[kind]]
    if kind is GroupsRecorded:
        texts = list(orjson.loads(row["groups"]).values())
    if any(text and not is_sealed(text) for text in texts):
        yield "plain", _text(row["event_id"])


def _text(value: UUID | str | None) -> str:
    return value if isinstance(value, str) else str(value)
