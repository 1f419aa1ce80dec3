"""A rewrite of a response named by its id becomes a pair once the original is in the warehouse, in any order of arrival."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from storage.artifacts import Artifacts
from storage.events import Event, JudgmentGiven, PairDrawn, ResponseEdited, new_id
from storage.events.wire import decode
from storage.settings import Settings
from storage.texts.texts import Texts
from storage.warehouse.contents import contents
from storage.warehouse.verify import verify
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Record, records_of
from streams.bus.quarantine import decoded
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import TOPIC_OF, TOPICS
from streams.derived import check_derived
from streams.hub import HubStreams
from streams.intake import Intake
from streams.replay import replay
from streams.stations import rewrites
from streams.stations.rewrites import Rewrites
from streams.stations.sink import Sink
from tests.streams.bus_contract import everything
from tests.streams.memory_bus import MemoryBus

PROMPT = [{"role": "user", "content": "Is the role still open?"}]
SAID: dict[str, Any] = {"prompt": PROMPT, "version": "v-1", "sampling": {}}
A, B = {"text": "Yes.", "version": "v-1"}, {"text": "Maybe.", "version": "v-2"}


class House:
    """The hub's sink and the station, stepped by the test."""

    def __init__(self, path: Path) -> None:
        self.bus = MemoryBus()
        self.warehouse = Warehouse.open(path)
        self.intake = Intake(self.bus, b"k" * 32)
        self.sink = Sink(self.bus, self.warehouse, "hub-1")
        self.restart()

    def restart(self) -> None:
        self.station = Rewrites(self.bus, self.warehouse, threading.Event())
        self.sink.listeners = [self.station.wake_for]

    def store(self) -> None:
        self.sink.step(0)
        self.sink.step(0)

    def on(self, kind: type[Event]) -> list[Any]:
        return [event for entry in everything(self.bus, TOPIC_OF[kind].name) if isinstance(event := decode(entry.value), kind)]

    def drawn(self) -> list[tuple[str, str, str, str]]:
        """Original, its version, rewrite, author."""
        self.store()
        self.station.step(0)
        return [(pair.a.text, pair.a.version, pair.b.text, pair.b.version) for pair in self.on(PairDrawn) if pair.drawn == "edited"]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(rewrites, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(rewrites, "CATCH_UP", 0.0)
    built = House(tmp_path / "warehouse.duckdb")
    yield built
    built.warehouse.close()


def test_a_rewrite_of_a_reply_is_a_pair_of_both_judged_for_the_rewrite(house: House) -> None:
    reply = house.intake.reply(conversation_id="c-1", reply="Yes.", **SAID)
    edited, judgment = house.intake.rewrite(edited="Yes, it is.", recruiter="Ada", reply_id=reply.event_id, reason="warmer")
    assert house.drawn() == [("Yes.", "v-1", "Yes, it is.", judgment.recruiter)]
    [pair] = house.on(PairDrawn)
    assert (pair.pair_id, pair.prompt, pair.conversation_id, pair.stratum) == (edited.pair_id, reply.prompt, "c-1", reply.stratum)
    assert (judgment.pair_id, judgment.choice, judgment.reason) == (pair.pair_id, "B", "warmer")
    house.drawn()
    house.restart()
    assert len(house.drawn()) == 1


@pytest.mark.parametrize("edit_first", [False, True])
@pytest.mark.parametrize("named", ["reply", "conversation", "pair"])
def test_the_original_may_land_before_or_after_the_rewrite(house: House, named: str, edit_first: bool) -> None:
    spoken = Intake(spare := MemoryBus(), b"k" * 32)
    reply = spoken.reply(conversation_id="c-1", reply="Yes.", **SAID)
    pair = spoken.pair(prompt=PROMPT, a=B, b=A)
    names: dict[str, Any] = {"reply": {"reply_id": reply.event_id}, "conversation": {"conversation_id": "c-1"}}
    names["pair"] = {"pair_id": pair.pair_id, "side": "B"}
    if edit_first:
        house.intake.rewrite(edited="Yes, it is.", recruiter="Ada", **names[named])
        assert house.drawn() == []
        house.restart()
        assert house.drawn() == []
    landing = everything(spare, "chat.replies", "feedback.pairs")
    house.bus.publish([Record(entry.partition.topic, entry.key, entry.value) for entry in landing], timeout=1)
    house.store()
    if not edit_first:
        house.intake.rewrite(edited="Yes, it is.", recruiter="Ada", **names[named])
    assert [row[:3] for row in house.drawn()] == [("Yes.", "v-1", "Yes, it is.")]


def test_a_rewrite_by_conversation_is_of_the_last_reply_at_that_time_even_if_that_is_still_to_be_stored(house: House) -> None:
    replies = [house.intake.reply(conversation_id="c-1", reply=text, **SAID) for text in ("First.", "Second.")]
    house.intake.rewrite(edited="Second, rewritten.", recruiter="Ada", conversation_id="c-1")
    house.intake.reply(conversation_id="c-1", reply="Third.", **SAID)
    house.intake.rewrite(edited="First, rewritten.", recruiter="Ada", reply_id=replies[0].event_id)
    assert sorted(row[:3:2] for row in house.drawn()) == [("First.", "First, rewritten."), ("Second.", "Second, rewritten.")]

    house.intake.reply(conversation_id="c-2", reply="Old.", **SAID)
    house.store()
    newest = house.intake.reply(conversation_id="c-2", reply="New.", **SAID)
    edited, _ = house.intake.rewrite(edited="New, rewritten.", recruiter="Ada", conversation_id="c-2")
    batch = [entry for entry in everything(house.bus, "feedback.ratings") if decode(entry.value) == edited]
    house.station.wake_for(house.warehouse.apply([(entry.partition, entry.offset, edited) for entry in batch]))  # ahead of the reply
    house.station.step(0)
    assert len(house.on(PairDrawn)) == 2
    assert decode(everything(house.bus, "chat.replies")[-1].value) == newest
    assert house.drawn()[-1][:3:2] == ("New.", "New, rewritten.")


def test_a_withdrawn_rewrite_teaches_nothing_though_it_is_withdrawn_before_its_pair_is_drawn(house: House) -> None:
    reply_id = new_id()
    edited, _ = house.intake.rewrite(edited="Yes, it is.", recruiter="Ada", reply_id=reply_id)
    house.intake.withdrawal(pair_id=edited.pair_id, recruiter="Ada")
    assert house.drawn() == []
    reply = Intake(MemoryBus(), b"k" * 32).reply(conversation_id="c-1", reply="Yes.", **SAID)
    house.bus.publish(records_of([reply.model_copy(update={"event_id": reply_id})]), timeout=1)
    assert len(house.drawn()) == 1
    choices = [event.choice for event in house.on(JudgmentGiven)]
    assert choices == ["B", "skip"]


def test_a_rewrite_in_the_words_of_its_original_is_no_pair(house: House) -> None:
    reply = house.intake.reply(conversation_id="c-1", reply="Yes.", **SAID)
    house.intake.rewrite(edited="Yes.", recruiter="Ada", reply_id=reply.event_id)
    assert house.drawn() == []
    assert not house.station._waiting


def test_many_rewrites_are_drawn_once_each(house: House) -> None:
    replies = [house.intake.reply(conversation_id=f"c-{n}", reply=f"Reply {n}.", **SAID) for n in range(5)]
    for reply, name in itertools.product(replies, ("Ada", "Ben")):
        house.intake.rewrite(edited=f"{reply.reply} Rewritten.", recruiter=name, reply_id=reply.event_id)
    assert len(house.drawn()) == 10
    house.drawn()
    assert len(house.on(PairDrawn)) == 10


def test_a_running_hub_draws_the_pair_and_its_warehouse_is_that_of_the_log(tmp_path: Path) -> None:
    with closing(SQLiteBus(tmp_path / "bus.sqlite")) as bus, Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        settings = Settings.read(tmp_path, {}).with_values({"home": tmp_path})
        artifacts = Artifacts(settings.common.artifacts_url)
        hub = HubStreams(bus, warehouse, artifacts, tmp_path)
        hub.start()
        intake, key = Intake(bus, b"k" * 32), new_id()
        intake.reply(conversation_id="c-1", reply="Yes.", **SAID)
        for _ in range(2):  # a client that repeats its request
            edited, _ = intake.within(key).rewrite(edited="Yes, it is.", recruiter="Ada", conversation_id="c-1")
        deadline = monotonic() + 10
        while not (drawn := [event.pair_id for event in warehouse.events(PairDrawn) if isinstance(event, PairDrawn)]):
            assert monotonic() < deadline
            threading.Event().wait(0.02)
        assert hub.stop(10)
        assert drawn == [edited.pair_id]
        assert [event.event_id for event in warehouse.events(ResponseEdited)] == [edited.event_id]
        assert not any(hub.checks[name]() for name in ("rewrites", "webhooks", "sink"))
        entries = everything(bus, *TOPICS)
        warehouse.apply(decoded(entries, "sink").entries)  # the hub may have stopped before the last of them
        assert verify(warehouse, [(e.partition.topic, e.partition.number, e.offset, e.value) for e in entries]).clean
        assert check_derived(warehouse, artifacts, settings, Texts.of(settings)).findings == []
        rebuilt = replay(bus, tmp_path / "again.duckdb", lambda done, total: None)
        assert rebuilt == contents(warehouse)
        warehouse.cursor().execute("UPDATE pair_drawn SET a_text = 'Never.'")
        [finding] = check_derived(warehouse, artifacts, settings, Texts.of(settings)).findings
        assert (finding.what, finding.where) == ("derived", f"pair {edited.pair_id}")
