"""The warehouse holds all events minus those of erased people, in whatever order the topics arrive."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import EventUnreadable
from storage.events import Erased, Event, HubClaimed, PreferenceJoined, PreferenceRemoved, Response, derived_id
from storage.events.wire import decode, encode
from storage.texts.sealed import TextKey
from storage.warehouse.contents import contents
from storage.warehouse.erasure import COVERED_BY
from storage.warehouse.verify import verify
from storage.warehouse.warehouse import Warehouse
from tests.profiles import examples
from tests.storage.facts import (
    Log,
    apply,
    erasure,
    features,
    groups,
    id_of,
    joined,
    judgment,
    outcome,
    pair,
    reply,
    rewrite,
    sealed,
    thumb,
)

KEYS = [TextKey(f"{number:016d}", bytes(32)) for number in range(9)]
TOPICS: list[list[Event]] = [
    [reply(1), reply(2), reply(3, candidate="c-1"), reply(2, event_id=derived_id("test", "again"), prompt=reply(3).prompt)],
    [pair(1), pair(2), pair(3), pair(102, conversation_id="conversation-2", drawn="edited")],
    [features(1), features(2), features(3), features(102)],
    [
        judgment(1, "A"),
        judgment(2, "B"),
        judgment(3, "tie", "r-2"),
        judgment(2, "A", "r-2"),
        judgment(102, "B", "r-2"),
        judgment(1, "B", "r-2"),
    ],
    [thumb(1), thumb(2, recruiter="r-2"), thumb(3, conversation_id=None), rewrite(2, "r-2")],
    [groups("c-9"), outcome("o-1", "c-9"), outcome("o-2", "c-9"), outcome("o-1", "c-9", event_id=id_of("corrected"))],
]


def test_a_record_goes_alone_and_a_late_repeat_of_it_is_not_stored(tmp_path: Path) -> None:
    first, second = outcome("o-1", "c-1"), outcome("o-2", "c-1")
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        log = Log()
        apply(warehouse, log, reply(1), groups("c-1"), first, second, erasure("record", str(first.event_id)))
        here = stored(warehouse)
        assert (here["ReplySent"], here["OutcomeRecorded"]) == ({reply(1).event_id}, {second.event_id})
        assert len(here["GroupsRecorded"]) == 1
        assert apply(warehouse, log, first).dropped == 1


@pytest.mark.parametrize("name", ["o-1", str(id_of("a record")).upper()])
def test_a_record_is_named_by_its_event_id_alone(name: str) -> None:
    with pytest.raises(EventUnreadable, match="a record is named by its event id"):
        decode(encode(erasure("record", str(id_of("a record")))).replace(str(id_of("a record")).encode(), name.encode()))


def stored(warehouse: Warehouse) -> dict[str, set[Any]]:
    return {kind.__name__: {event.event_id for event in warehouse.events(kind)} for kind in COVERED_BY}


def test_a_candidate_takes_along_conversations_pairs_and_what_was_said_of_them(tmp_path: Path) -> None:
    log = Log()
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, *(event for topic in TOPICS for event in topic))
        before = warehouse.last_sequence
        applied = apply(warehouse, log, erasure("candidate", "c-1"))
        here = stored(warehouse)
        assert here["ReplySent"] == {reply(2).event_id, derived_id("test", "again")}
        assert here["PairDrawn"] == {pair(2).event_id, pair(102).event_id}
        assert here["PairEmbedded"] == {features(2).event_id, features(102).event_id}
        assert here["JudgmentGiven"] == {event.event_id for event in (judgment(2, "B"), judgment(2, "A", "r-2"), judgment(102, "B", "r-2"))}
        assert here["ResponseRated"] == {thumb(2, recruiter="r-2").event_id}
        assert here["ResponseEdited"] == {rewrite(2, "r-2").event_id}
        assert [type(entry) for entry in applied.numbered] == [PreferenceRemoved] * 3
        assert [entry.sequence for entry in applied.numbered] == [before + 1, before + 2, before + 3]
        assert applied.deleted == 2 + 2 + 2 + 3 + 2
        assert warehouse.waiting == 0
        assert apply(warehouse, log, erasure("candidate", "c-1")).repeated == 1  # asked again
        late = apply(warehouse, log, reply(1, event_id=derived_id("test", "late")), judgment(3, "A", "r-3"))
        assert (late.stored, late.numbered, late.dropped) == ((), (), 2)
        assert stored(warehouse) == here


def test_a_recruiter_takes_along_judgments_and_rewrites_and_the_conversation_stays(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        log = Log()
        apply(warehouse, log, *(event for topic in TOPICS for event in topic), judgment(4, recruiter="r-2"), judgment(4))
        assert warehouse.waiting == 2
        apply(warehouse, log, erasure("recruiter", "r-2"))
        here = stored(warehouse)
        assert len(here["ReplySent"]) == 4
        assert here["PairDrawn"] == {pair(n).event_id for n in (1, 2, 3)}  # its rewrite's pair goes
        assert here["JudgmentGiven"] == {judgment(1, "A").event_id, judgment(2, "B").event_id, judgment(4).event_id}
        assert here["ResponseEdited"] == set()
        assert warehouse.waiting == 1
        standing = {event_id for event_id, _ in joined(warehouse.preferences_after(0, 100))}
        assert standing == {judgment(1, "A").event_id, judgment(2, "B").event_id}
        again = apply(warehouse, log, judgment(1, "B", minute=1))
        assert [type(entry) for entry in again.numbered] == [PreferenceRemoved, PreferenceJoined]


def test_keys_go_with_the_texts_that_are_about_the_person_and_no_others(tmp_path: Path) -> None:
    conversation, reason, edit, record = KEYS[:4]
    events = [
        sealed(reply(2), conversation),
        sealed(pair(2), conversation),
        sealed(features(2), conversation),
        sealed(judgment(2, "B", reason="too late"), reason),
        sealed(rewrite(2, "r-2"), edit),
        sealed(groups("c-2"), record),
        sealed(groups("c-3"), KEYS[4]),
        sealed(pair(102, conversation_id="conversation-2", drawn="edited"), conversation),
    ]
    for name, gone in (("candidate", {conversation.kid, reason.kid, edit.kid, record.kid}), ("recruiter", {edit.kid})):
        with Warehouse.open(tmp_path / f"{name}.duckdb") as warehouse:
            apply(warehouse, Log(), *events, erasure("candidate", "c-2") if name == "candidate" else erasure("recruiter", "r-2"))
            assert {row["name"] for row in warehouse.query("erased").to_pylist() if row["what"] == "key"} == gone


def test_a_repeat_under_another_key_loses_its_key_with_the_stored_event(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        log = Log()
        apply(warehouse, log, sealed(reply(1), KEYS[0]), sealed(reply(1), KEYS[1]))  # as after a restart
        apply(warehouse, log, erasure("candidate", "c-1"))
        assert apply(warehouse, log, sealed(reply(1), KEYS[2])).dropped == 1
        keys = {row["name"] for row in warehouse.query("erased").to_pylist() if row["what"] == "key"}
        assert keys == {key.kid for key in KEYS[:3]}


def test_a_recruiters_rewrite_that_came_with_its_original_goes_with_the_recruiter(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        edited = pair(1, drawn="edited", b=Response(text="On Monday.", version="r-2"))
        apply(warehouse, Log(), reply(1), edited, features(1), judgment(1, "B", "r-2"), judgment(1, "A"), erasure("recruiter", "r-2"))
        assert {name for name, ids in stored(warehouse).items() if ids} == {"ReplySent"}


def test_erased_events_with_a_plain_text_are_counted(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        said = [
            reply(1),
            judgment(1),
            thumb(1),
            judgment(1, "B", reason="late"),
            pair(1),
            groups("c-1"),
            groups("c-1", event_id=id_of("none"), groups={}),
        ]
        apply(warehouse, Log(), *said, erasure("candidate", "c-1"))
        plain = {row["name"] for row in warehouse.query("erased").to_pylist() if row["what"] == "plain"}
        assert plain == {str(event.event_id) for event in (reply(1), judgment(1, "B"), pair(1), groups("c-1"))}


def test_a_crash_in_the_middle_leaves_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, *(event for topic in TOPICS for event in topic))
        before = stored(warehouse)
        entries = log.add(erasure("candidate", "c-1"))
        with monkeypatch.context() as broken:
            broken.setattr("storage.warehouse.inserts.Inserts.store_offsets", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                warehouse.apply(entries)
        assert stored(warehouse) == before
        assert len(warehouse.apply(entries).numbered) == 3
        assert reply(1).event_id not in stored(warehouse)["ReplySent"]


def test_a_hub_that_starts_removes_what_was_erased_while_none_numbered(tmp_path: Path) -> None:
    log = Log()
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, pair(1), features(1), judgment(1), reply(1))
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        assert apply(warehouse, log, erasure("candidate", "c-1")).numbered == ()
        (removed,) = warehouse.claim_epoch(2, published=1)
        assert isinstance(removed, PreferenceRemoved)
        assert removed.removes == 1
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        assert warehouse.claim_epoch(3, published=2) == ()


@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_interleaving_of_the_topics_gives_the_same_rows(data: st.DataObject, tmp_path_factory: Any) -> None:
    names: list[tuple[Erased, str]] = [
        ("candidate", "c-1"),
        ("candidate", "c-2"),
        ("recruiter", "r-1"),
        ("recruiter", "r-2"),
        ("conversation", "conversation-3"),
        ("record", str(outcome("o-1", "c-9").event_id)),
        ("record", str(groups("c-9").event_id)),
    ]
    asked = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    closed = [[sealed(event, KEYS[place]) for event in topic] for place, topic in enumerate(TOPICS)]
    topics: list[list[Event]] = [*closed, [erasure(what, name) for what, name in asked]]
    results = []
    for _ in range(2):
        positions = [iter(Log().add(*events)) for events in topics]
        turns = data.draw(st.permutations([which for which, events in enumerate(topics) for _ in events]))
        entries = [next(positions[which]) for which in turns]
        cuts = sorted(data.draw(st.sets(st.integers(0, len(entries)), max_size=4)) | {0, len(entries)})
        reopened = data.draw(st.none() | st.integers(0, len(cuts)))
        path = tmp_path_factory.mktemp("erased") / "w.duckdb"
        warehouse = Warehouse.open(path)
        try:
            warehouse.claim_epoch(1, published=0)
            for number, (low, high) in enumerate(pairwise(cuts)):
                if number == reopened:
                    warehouse.close()
                    warehouse = Warehouse.open(path)
                    warehouse.claim_epoch(2, published=0)
                warehouse.apply(entries[low:high])
            numbered = warehouse.preferences_after(0, 1_000)
            assert [entry.sequence for entry in numbered] == list(range(1, len(numbered) + 1))
            rows = {name: content for name, content in contents(warehouse).items() if not name.startswith("preference_")}
            gone = {(row["what"], row["name"]) for row in warehouse.query("erased").to_pylist()}
            results.append((rows, gone, joined(numbered), warehouse.waiting))
        finally:
            warehouse.close()
    assert results[0] == results[1]


def filled(path: Path) -> tuple[Warehouse, Log]:
    warehouse, log = Warehouse.open(path), Log()
    warehouse.claim_epoch(1, published=0)
    apply(warehouse, log, HubClaimed(source="product", epoch=1, hub="hub-1"))
    closed = [sealed(event, KEYS[place]) for place, topic in enumerate(TOPICS) for event in topic]
    apply(warehouse, log, *closed, sealed(reply(1), KEYS[8]), erasure("candidate", "c-1"), erasure("recruiter", "r-2"))
    apply(warehouse, log, *warehouse.preferences_after(0, 100))
    return warehouse, log


def test_after_an_erasure_the_warehouse_agrees_with_the_log_and_with_a_replay(tmp_path: Path) -> None:
    warehouse, log = filled(tmp_path / "w.duckdb")
    with warehouse, Warehouse.open(tmp_path / "again.duckdb") as again:
        assert verify(warehouse, log.raw()).findings == ()
        for entry in sorted(log.entries, key=lambda entry: entry[0].topic):
            again.apply([entry])
        assert contents(again) == contents(warehouse)
        assert verify(again, log.raw()).findings == ()


@pytest.mark.parametrize(
    ("statement", "where", "words"),
    [
        (
            "INSERT INTO erased VALUES ('pair', (SELECT any_value(pair_id)::VARCHAR FROM pair_drawn))",
            "pair ",
            "no entry of the log says so",
        ),
        ("INSERT INTO erased VALUES ('conversation', 'conversation-2')", "conversation conversation-2", "no entry of the log says so"),
        ("DELETE FROM erased WHERE name = 'conversation-3'", "conversation conversation-3", "the warehouse does not say so"),
        ("DELETE FROM erased WHERE what = 'key'", "key 0000000000000000", "the warehouse does not say so"),
        ("UPDATE reply_sent SET log_offset = 0", "chat.replies/0/0", "is still there"),
    ],
)
def test_an_erasure_that_the_log_does_not_ask_for_is_found(tmp_path: Path, statement: str, where: str, words: str) -> None:
    warehouse, log = filled(tmp_path / "w.duckdb")
    with warehouse:
        warehouse.cursor().execute(statement)
        found = [finding for finding in verify(warehouse, log.raw()).findings if finding.what == "erased"]
    assert any(finding.where.startswith(where) and words in finding.words for finding in found), found
