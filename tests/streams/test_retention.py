"""What ``[retention]`` keeps for a time only ends by itself: on a real log and a real warehouse, by a clock of the test's own."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.artifacts import Artifacts
from storage.errors import ConfigurationError, TextLost
from storage.events import (
    Event,
    GroupsRecorded,
    InterventionMade,
    OutcomeRecorded,
    PersonErased,
    PreferenceRemoved,
    ReplySent,
)
from storage.events.wire import decode
from storage.settings import Settings
from storage.texts.keys import FILE, SQLiteTextKeys
from storage.texts.sealed import TextKey
from storage.texts.texts import Texts
from storage.warehouse.contents import contents
from storage.warehouse.verify import verify
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import records_of
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import ERASURES, REPLIES, TOPICS
from streams.replay import replay
from streams.stations import retention
from streams.stations.erasure import Erasure
from streams.stations.retention import DAY, PAUSE, Retention
from streams.stations.retention_settings import MINIMA, RetentionSettings, below_minimum
from streams.stations.sink import Sink
from tests.storage.facts import START, features, groups, id_of, joined, judgment, outcome, pair, reply, rewrite, sealed, thumb
from tests.streams.bus_contract import everything

HALF_A_YEAR = RetentionSettings(conversations_days=184)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


class House:
    """A home with the hub's sink and its stations for erasure and retention, stepped by the test."""

    def __init__(self, home: Path, settings: RetentionSettings) -> None:
        self.home, self.settings, self.now = home, settings, day(0)
        self.bus = SQLiteBus(home / "bus.sqlite")
        self.warehouse = Warehouse.open(home / "warehouse.duckdb")
        self.keys = SQLiteTextKeys(home / FILE)
        self.sink = Sink(self.bus, self.warehouse, "hub-1")
        self.restart()

    def restart(self) -> None:
        stop = threading.Event()
        self.erasure = Erasure(self.warehouse, Artifacts(str(self.home / "artifacts")), Texts(self.keys), stop)
        self.retention = Retention(self.bus, self.warehouse, self.settings, stop, lambda: self.now)
        self.sink.listeners = [self.erasure.wake_for]

    def publish(self, *events: Event, key: TextKey | None = None) -> None:
        """Publish events, sealed under ``key``."""
        if key is not None:
            self.keys.add([key])
        self.bus.publish(records_of([sealed(event, key) if key else event for event in events]), timeout=5)

    def store(self) -> None:
        self.sink.step(0)
        self.sink.step(0)  # the preferences that the first one numbered

    def look(self, at: datetime) -> list[str]:
        """The names of what one look at this moment ends."""
        self.store()
        before = len(self.ended)
        self.now = at
        self.retention.step(0)
        self.store()
        self.erasure.step(0)
        return [event.name for event in self.ended[before:]]

    @property
    def ended(self) -> list[PersonErased]:
        return [event for entry in everything(self.bus, ERASURES.name) if isinstance(event := decode(entry.value), PersonErased)]

    def conversations(self) -> set[str]:
        return {event.conversation_id for event in self.warehouse.events(ReplySent) if isinstance(event, ReplySent)}

    def close(self) -> None:
        self.warehouse.close()
        self.bus.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(House(tmp_path, HALF_A_YEAR)) as built:
        yield built


def talk(number: int, at: datetime) -> list[Event]:
    """A conversation with a judged pair, all at that moment."""
    return [
        each.model_copy(update={"occurred_at": at})
        for each in (reply(number), pair(number), features(number), judgment(number, reason="late"))
    ]


def test_an_old_conversation_ends_with_all_that_was_said_of_it_and_others_stay(house: House) -> None:
    keys = [TextKey.new() for _ in range(3)]
    house.publish(*talk(1, day(0)), key=keys[0])
    house.publish(*talk(2, day(0)), key=keys[1])
    house.publish(*talk(3, day(100)), key=keys[2])
    house.publish(judgment(2, "B", "r-2", occurred_at=day(50)))  # new activity in the second
    assert house.look(day(184)) == []
    assert house.look(day(185.1)) == ["conversation-1"]
    assert house.conversations() == {"conversation-2", "conversation-3"}
    assert [(event.what, event.cause, event.occurred_at) for event in house.ended] == [("conversation", "retention", day(185.1))]

    texts = Texts(house.keys)
    of_first, of_second, _ = [decode(entry.value) for entry in everything(house.bus, REPLIES.name)]
    assert texts.event(of_second).model_dump_json()
    with pytest.raises(TextLost):
        texts.event(of_first)
    assert [house.keys.get(key.kid) is None for key in keys] == [True, False, False]
    entries = house.warehouse.preferences_after(0, 100)
    assert [type(entry) for entry in entries[-1:]] == [PreferenceRemoved]
    assert len(joined(entries)) == 3
    assert judgment(1, reason="late").event_id not in {judgment_id for judgment_id, _ in joined(entries)}

    log = [(entry.partition.topic, entry.partition.number, entry.offset, entry.value) for entry in everything(house.bus, *TOPICS)]
    assert verify(house.warehouse, log).clean
    assert replay(house.bus, house.home / "again.duckdb", lambda done, total: None) == contents(house.warehouse)


@pytest.mark.parametrize(
    "later",
    [
        reply(1, event_id=id_of("again")),
        pair(1, event_id=id_of("again"), pair_id=id_of("another pair")),
        judgment(1, "skip"),
        thumb(1),
        thumb(1, conversation_id=None),
        rewrite(1),
        rewrite(1, reply_id=None, original_pair=id_of("pair", 1), side="A"),
        InterventionMade(
            source="product", conversation_id="conversation-1", stage="question", filter="injection", action="flag", finding="x"
        ),
    ],
    ids=lambda event: event.kind,
)
def test_whatever_happens_in_a_conversation_keeps_it(house: House, later: Event) -> None:
    house.publish(*talk(1, day(0)), later.model_copy(update={"occurred_at": day(90)}))
    assert house.look(day(270)) == []
    assert house.look(day(275)) == ["conversation-1"]


def test_a_message_that_the_warehouse_does_not_have_yet_keeps_its_conversation(house: House) -> None:
    house.publish(*talk(1, day(0)))
    house.store()
    house.publish(reply(1, event_id=id_of("again"), occurred_at=day(180)))
    house.now = day(200)
    house.retention.step(0)
    assert house.ended == []
    assert house.look(day(200)) == []


def test_a_restart_repeats_nothing_and_goes_on_where_a_killed_hub_was(house: House) -> None:
    house.publish(*talk(1, day(0)), *talk(2, day(1)))
    house.store()
    house.now = day(184.5)
    house.retention.step(0)  # and killed, before the sink has the event
    house.restart()
    house.retention.step(0)
    assert [event.name for event in house.ended] == ["conversation-1"]
    assert house.look(day(184.5)) == []
    assert house.conversations() == {"conversation-2"}
    house.restart()
    assert house.look(day(184.5)) == []
    house.restart()
    assert house.look(day(186)) == ["conversation-2"]
    assert len(house.ended) == 2


def test_a_few_end_at_a_time_and_then_none_for_a_day(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_A_TIME", 2)
    house.publish(*(event for number in range(1, 6) for event in talk(number, day(number / 24))))
    at = day(300)
    assert house.look(at) == ["conversation-1", "conversation-2"]
    assert house.look(at + PAUSE / 2) == []
    assert house.look(at + PAUSE) == ["conversation-3", "conversation-4"]
    assert house.look(at + 2 * PAUSE) == ["conversation-5"]
    assert house.look(at + 3 * PAUSE) == []  # nothing more
    house.publish(*talk(6, day(6)))
    assert house.look(at + 3 * PAUSE + DAY - PAUSE) == []
    assert house.look(at + 3 * PAUSE + DAY) == ["conversation-6"]


def test_a_clock_that_was_ahead_delays_no_look(house: House) -> None:
    house.publish(*talk(1, day(100)))
    assert house.look(day(150)) == []
    house.publish(*talk(2, day(-100)))
    assert house.look(day(149)) == ["conversation-2"]


def decision(name: str, at: datetime, **values: Any) -> OutcomeRecorded:
    return outcome(name, "c-1", **{"event_id": id_of(name, at), "occurred_at": at, "decided_at": at} | values)


def names(*events: Event) -> list[str]:
    return [str(event.event_id) for event in events]


def test_decisions_end_by_their_own_time_and_groups_with_the_last_of_their_candidate(tmp_path: Path) -> None:
    with closing(House(tmp_path, RetentionSettings(conversations_days=2_000, decisions_days=1_461))) as house:
        first, corrected = decision("o-1", day(0)), decision("o-1", day(30), decided_at=day(-1), selected=False)
        second, later = decision("o-2", day(0), decided_at=day(20)), decision("o-3", day(500))
        of_first, of_other = groups("c-1", occurred_at=day(0)), groups("c-2", occurred_at=day(0))
        house.publish(first, corrected, second, later, of_first, of_other, *talk(2, day(10)))  # c-2 has a conversation
        assert house.look(day(1_480)) == []
        assert house.look(day(1_482)) == names(second)
        assert house.look(day(1_491.5)) == names(first, corrected)
        assert house.look(day(1_962)) == names(later)
        assert house.look(day(1_963)) == names(of_first)
        assert house.look(day(2_011)) == ["conversation-2"]
        assert house.look(day(2_012)) == names(of_other)
        assert house.warehouse.events(OutcomeRecorded, GroupsRecorded) == []
        house.publish(decision("o-1", day(2_011)), first)  # a new decision of the same name, and a late repeat of the old one
        house.store()
        assert [event.occurred_at for event in house.warehouse.events(OutcomeRecorded)] == [day(2_011)]
        log = [(entry.partition.topic, entry.partition.number, entry.offset, entry.value) for entry in everything(house.bus, *TOPICS)]
        assert verify(house.warehouse, log).clean
        assert replay(house.bus, tmp_path / "again.duckdb", lambda done, total: None) == contents(house.warehouse)


def test_without_the_setting_everything_is_kept_and_the_log_is_not_asked(tmp_path: Path) -> None:
    with closing(House(tmp_path, Settings.read(tmp_path, {}).section("retention", RetentionSettings))) as house:
        house.publish(*talk(1, day(0)), decision("o-1", day(0)))
        assert house.look(day(36_500)) == []
        assert below_minimum(house.settings) is None


def test_less_than_a_rule_asks_for_is_said_in_one_line_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(House(tmp_path, RetentionSettings(conversations_days=183, decisions_days=1_460))):
        (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    said = warning.getMessage()
    assert "conversations_days is 183, and less than the EU's AI Act, Art. 19 and 26(6), six months (184 days) and California's" in said
    assert "decisions_days is 1460, and less than California's 2 CCR 11013(c), four years (1461 days)." in said
    assert "\n" not in said
    longest = max(each.days for each in MINIMA)
    assert below_minimum(RetentionSettings(conversations_days=longest, decisions_days=longest)) is None


def test_no_time_at_all_is_refused(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, {"FEEDBACKLOOP_RETENTION__CONVERSATIONS_DAYS": "0"})
    with pytest.raises(ConfigurationError, match="FEEDBACKLOOP_RETENTION__CONVERSATIONS_DAYS: Input should be greater than or equal to 1"):
        settings.section("retention", RetentionSettings)
