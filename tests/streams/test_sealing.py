"""Published texts are sealed under keys of their own; stations and pages that need the words open them."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from storage.events import (
    Event,
    HubClaimed,
    JudgmentGiven,
    PairDrawn,
    PairEmbedded,
    PreferenceJoined,
    ReplySent,
    ResponseRated,
    unpack,
)
from storage.events.tokens import MARK, is_sealed
from storage.events.wire import decode
from storage.texts.keys import SQLiteTextKeys
from storage.texts.sealed import Cipher, TextKey, kid_of
from storage.texts.texts import Texts
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import records_of
from streams.bus.topics import FEATURES, JUDGMENTS, PAIRS, PREFERENCES, QUARANTINE, TOPICS
from streams.imports import import_file
from streams.intake import Intake
from streams.privacy.sealing import POOL, Sealer
from streams.stations.embed import embed_pairs
from streams.stations.rewrites import Rewrites
from streams.stations.sink import Sink
from tests.streams.bus_contract import everything
from tests.streams.examples import DIMENSION, SmallEmbedder
from tests.streams.memory_bus import MemoryBus
from tests.streams.test_intake import EDIT, JUDGMENT, PAIR, PROMPT, RATING, REPLY
from tests.streams.test_learner import Clock, learner

KEY = b"k" * 32
WORDS = b"Monday"
SAID: dict[str, Any] = REPLY | {"reply": "On Monday.", "candidate": "17"}


@pytest.fixture
def keys(tmp_path: Path) -> SQLiteTextKeys:
    return SQLiteTextKeys(tmp_path / "text-keys.sqlite")


class House:
    """An intake that seals, and the stations behind it, on one log; :meth:`replica` is the intake of another process."""

    def __init__(self, folder: Path, keys: SQLiteTextKeys) -> None:
        self.bus, self.keys, self.texts = MemoryBus(), keys, Texts(keys)
        self.intake = self.replica()
        self.warehouse = Warehouse.open(folder / "warehouse.duckdb")
        self.sink = Sink(self.bus, self.warehouse, "hub")
        self.sink.start()

    def replica(self) -> Intake:
        return Intake(self.bus, KEY, sealer=Sealer(self.keys, KEY))

    def on(self, *topics: str) -> list[Any]:
        events = [decode(entry.value) for entry in everything(self.bus, *(topics or TOPICS))]
        return [event for event in events if not isinstance(event, HubClaimed)]

    def store(self) -> None:
        while self.bus.read(self.sink._after, limit=1, wait=0):
            self.sink.step(0)


@pytest.fixture
def house(tmp_path: Path, keys: SQLiteTextKeys) -> Any:
    opened = House(tmp_path, keys)
    yield opened
    opened.warehouse.close()


def kids(event: Event) -> set[str]:
    found: set[str] = set()
    Texts.event(_Collecting(found), event)  # type: ignore[arg-type]
    return found


class _Collecting:
    def __init__(self, found: set[str]) -> None:
        self._found = found

    def opened(self, value: str) -> str:
        if is_sealed(value):
            self._found.add(kid_of(value))
        return value


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("reply", SAID),
        ("pair", PAIR | {"a": {"text": "On Monday.", "version": "base"}}),
        ("judgment", JUDGMENT | {"reason": "Monday suits"}),
        ("rating", RATING | {"reason": "Monday suits"}),
        ("rating", RATING | {"thumb": None, "comment": "Monday suits"}),
        ("edit", EDIT),
        ("outcome", {"candidate": "17", "groups": {"starts": "Monday", "sex": "female"}}),
    ],
)
def test_no_word_is_on_the_log_and_all_come_back(house: House, method: str, sent: dict[str, Any]) -> None:
    returned = getattr(house.intake, method)(**sent)
    events = [each for each in (returned if isinstance(returned, tuple) else (returned,)) if each is not None]
    assert WORDS not in b"".join(entry.value for entry in everything(house.bus, *TOPICS))
    opened = [house.texts.event(event) for event in house.on()]
    assert [event.model_copy(update={"prompt_key": None}) if isinstance(event, ReplySent) else event for event in opened] == events


def test_a_conversation_has_one_key_and_what_recruiters_say_has_its_own(house: House) -> None:
    house.intake.reply(**SAID)
    house.intake.pair(**PAIR)
    house.intake.reply(**SAID | {"conversation_id": "c2"})
    for reason in ("too long", "too long"):
        house.intake.judgment(**JUDGMENT | {"reason": reason})
    house.replica().reply(**SAID)
    house.intake.outcome(candidate="17", groups={"sex": "female", "age": "40 and over"})
    found = [kids(event) for event in house.on()]
    assert all(len(each) == 1 for each in found)
    reply, pair, other, *own = map(one, found)
    assert reply == pair
    assert len({reply, other, *own}) == 6


def one(found: set[str]) -> str:
    (kid,) = found
    return kid


def test_a_judgment_without_words_needs_no_key(house: House) -> None:
    house.intake.judgment(**JUDGMENT)
    (event,) = house.on()
    assert kids(event) == set()


def test_keys_are_durable_before_anything_is_sealed_under_them_and_made_in_stock(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[int] = []
    add = house.keys.add

    def counted(keys: Sequence[TextKey]) -> None:
        added.append(len(keys))
        add(keys)

    monkeypatch.setattr(house.keys, "add", counted)
    for number in range(POOL + 1):
        house.intake.reply(**SAID | {"conversation_id": f"c{number}"})
        assert house.keys.get(one(kids(house.on()[-1]))) is not None
    assert added == [POOL, POOL]


def test_a_conversation_goes_on_under_another_key_when_its_own_was_destroyed(house: House) -> None:
    house.intake.reply(**SAID)
    (first,) = (one(kids(event)) for event in house.on())
    house.keys.destroy([first])
    house.intake.reply(**SAID)
    assert one(kids(house.on()[-1])) != first


def test_a_repeated_request_is_the_same_bytes_and_from_a_replica_the_same_event(house: House) -> None:
    judging, drawing = (UUID(f"0195f0a0-0000-5000-8000-00000000000{n}") for n in (1, 2))
    for intake in (house.intake, house.intake, house.replica()):
        intake.within(judging).judgment(**JUDGMENT | {"reason": "too long"})
        intake.within(drawing).pair(**PAIR | {"pair_id": JUDGMENT["pair_id"]})
    house.store()
    assert house.on(QUARANTINE.name) == []
    assert [len(house.warehouse.events(kind)) for kind in (JudgmentGiven, PairDrawn)] == [1, 1]


def test_equal_prompts_of_different_people_have_one_key_that_says_nothing_without_the_secret(house: House) -> None:
    for conversation in ("c1", "c2"):
        house.intake.reply(**SAID | {"conversation_id": conversation})
    house.intake.reply(**SAID | {"prompt": [{"role": "user", "content": "Another question?"}]})
    Intake(house.bus, b"e" * 32, sealer=Sealer(house.keys, b"e" * 32)).reply(**SAID)
    one, other, question, elsewhere = (event.prompt_key for event in house.on())
    assert one == other
    assert len({one, question, elsewhere}) == 3


def test_what_a_candidate_writes_in_the_form_of_a_sealed_text_is_a_text(house: House) -> None:
    key = TextKey("k" * 16, bytes(32))  # under a random one, the token may have an account number in it, which is redacted
    house.keys.add([key])
    forged = Cipher(key).seal(b"a secret of somebody else", "t")
    house.intake.reply(**SAID | {"reply": forged})
    Intake(house.bus, KEY).reply(**SAID | {"reply": forged})
    for event in house.on():
        assert house.texts.event(event).reply == forged.replace(MARK, "\ufffd")


def test_features_are_sealed_as_their_pair_and_teach_the_same(house: House, tmp_path: Path) -> None:
    heads = []
    for sealer in (Sealer(house.keys, KEY), Sealer()):
        bus = MemoryBus()
        pair = Intake(bus, KEY, sealer=sealer).pair(**PAIR)
        (drawn,) = [decode(entry.value) for entry in everything(bus, PAIRS.name)]
        (embedded,) = embed_pairs([drawn], SmallEmbedder(), house.texts)
        assert isinstance(embedded, PairEmbedded)
        assert embed_pairs([drawn], SmallEmbedder(), house.texts) == [embedded]
        assert kids(embedded) == kids(drawn)
        opened = house.texts.event(embedded)
        assert opened == embed_pairs([drawn.model_copy(update={"prompt": pair.prompt, "a": pair.a, "b": pair.b})], SmallEmbedder())[0]
        heads.append(opened)
    assert (heads[0].a, heads[0].b) == (heads[1].a, heads[1].b)


def test_a_sealed_loop_learns_what_an_open_one_learns(tmp_path: Path, keys: SQLiteTextKeys) -> None:
    means = []
    for name, sealer in (("sealed", Sealer(keys, KEY)), ("plain", Sealer())):
        house = House(tmp_path / name, keys)
        house.intake = Intake(house.bus, KEY, sealer=sealer)
        for number in range(12):
            pair = house.intake.pair(**PAIR | {"conversation_id": f"c{number}", "b": {"text": f"Yes, {number}.", "version": "base"}})
            house.intake.judgment(pair_id=pair.pair_id, recruiter="Ada", choice="AB"[number % 2], reason="Monday suits")
        drawn = house.on(PAIRS.name)
        house.bus.publish(records_of(embed_pairs(drawn, SmallEmbedder(), house.texts)), timeout=1)
        house.store()
        joined = house.on(PREFERENCES.name)
        assert {is_sealed(event.a) for event in joined if isinstance(event, PreferenceJoined)} == {name == "sealed"}
        assert house.on(QUARANTINE.name) == []
        station = learner(house.bus, tmp_path / name / "learner", Clock(), texts=house.texts)
        station.step(0)
        means.append(station.head.overall.mean)
        assert station.head.sequence == 12
        house.warehouse.close()
    assert means[0].shape == (DIMENSION + 1,)
    assert (means[0] == means[1]).all()


def test_a_preference_whose_key_is_lost_is_passed_over_and_named(house: House, tmp_path: Path) -> None:
    for number in range(3):
        pair = house.intake.pair(**PAIR | {"conversation_id": f"c{number}", "b": {"text": f"Yes, {number}.", "version": "base"}})
        house.intake.judgment(pair_id=pair.pair_id, recruiter="Ada", choice="A", reason="Monday suits")
    house.bus.publish(records_of(embed_pairs(house.on(PAIRS.name), SmallEmbedder(), house.texts)), timeout=1)
    house.store()
    lost = one(kids(house.on(FEATURES.name)[1]))
    reason = one(kids(house.on(JUDGMENTS.name)[0]))  # which no station needs
    house.keys.destroy([lost, reason])
    station = learner(house.bus, tmp_path / "learner", Clock(), texts=Texts(house.keys))
    station.step(0)
    assert (station.head.sequence, station.head.judgments_seen) == (3, 2)
    (note,) = house.on(QUARANTINE.name)
    assert (note.reader, note.topic) == ("learner", PREFERENCES.name)
    assert lost in note.reason


def test_a_rewrite_is_paired_with_its_sealed_original_unless_it_has_the_same_words(house: House) -> None:
    reply = house.intake.reply(**SAID)
    house.intake.rewrite(edited="On Monday.", recruiter="Ada", reply_id=reply.event_id)
    house.intake.rewrite(edited="On Monday at ten.", recruiter="Ada", reply_id=reply.event_id)
    house.store()
    Rewrites(house.bus, house.warehouse, threading.Event(), house.texts).step(0)
    (pair,) = house.on(PAIRS.name)
    assert len(kids(pair)) == 2
    opened = house.texts.event(pair)
    assert (opened.a.text, opened.b.text) == ("On Monday.", "On Monday at ten.")
    assert [message.content for message in opened.prompt] == [PROMPT[0]["content"]]
    house.store()
    assert house.warehouse.query("rewrites_drawn_wrongly").to_pylist() == []


def test_imported_records_are_sealed_and_importing_them_again_adds_nothing(house: House, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text('{"prompt": "When?", "chosen": "On Monday.", "rejected": "No idea."}\n')
    sealer = Sealer(house.keys, KEY)
    assert import_file(file, house.bus, KEY, sealer=sealer).added == 1
    assert import_file(file, house.bus, KEY, sealer=Sealer(house.keys, KEY)).present == 1
    assert WORDS not in b"".join(entry.value for entry in everything(house.bus, *TOPICS))
    pair = next(event for event in house.on() if isinstance(event, PairDrawn))
    assert "On Monday." in (house.texts.event(pair).a.text, house.texts.event(pair).b.text)


def test_a_withdrawal_and_a_thumb_have_nothing_to_seal(house: House) -> None:
    house.intake.rating(**RATING)
    house.intake.withdrawal(recruiter="Ada", conversation_id="c1")
    assert [kids(event) for event in house.on() if isinstance(event, ResponseRated)] == [set(), set()]


def test_vectors_of_a_plain_pair_stay_plain(house: House) -> None:
    plain = Intake(MemoryBus(), KEY).pair(**PAIR)
    (embedded,) = embed_pairs([plain], SmallEmbedder(), house.texts)
    assert isinstance(embedded, PairEmbedded)
    assert unpack(embedded.a).shape == (DIMENSION,)
