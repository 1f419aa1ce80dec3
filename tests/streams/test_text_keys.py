"""The contract of a key store, on SQLite, on a log in memory and on Kafka; and what only the store on a topic has to keep."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from deploy.broker import Broker
from storage.errors import ConfigurationError, OffsetLost, Overloaded, TextLost
from storage.events import Event, PairDrawn
from storage.events.wire import decode
from storage.settings import Settings
from storage.texts.keys import SQLiteTextKeys, TextKeys, text_keys
from storage.texts.sealed import Cipher, TextKey
from storage.texts.texts import KEPT, Texts
from storage.warehouse.erasure import keys_in
from storage.warehouse.rows import row_of
from streams.bus import text_keys as on_a_topic
from streams.bus.kafka import KafkaBus
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.kafka_topics import create_topics
from streams.bus.open import keys_of, open_bus, outlet_and_keys
from streams.bus.outbox import Outbox
from streams.bus.protocol import Bus, Logged, Position, Record
from streams.bus.text_keys import TopicTextKeys
from streams.bus.topics import PAIRS, TEXT_KEYS
from streams.bus.wrapped_keys import Wrapping
from streams.intake import Intake
from streams.privacy.sealing import POOL, Sealer, sealer_of
from streams.stations.embed import embed_pairs
from streams.stations.runner import HandlerStation
from tests.streams.bus_contract import everything
from tests.streams.examples import SmallEmbedder
from tests.streams.memory_bus import MemoryBus
from tests.streams.test_intake import PAIR

SECRET = b"s" * 32
SOON = 30.0  # seconds


class Unreachable(MemoryBus):
    """A log that cannot be reached while ``away`` is set; ``asked_by`` are the threads that tried."""

    def __init__(self) -> None:
        super().__init__()
        self.away = threading.Event()
        self.asked_by: set[threading.Thread] = set()

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        self._ask()
        return super().publish(records, timeout=timeout)

    def read(self, after: Any, *, limit: int, wait: float) -> list[Logged]:
        self._ask()
        return super().read(after, limit=limit, wait=wait)

    def _ask(self) -> None:
        self.asked_by.add(threading.current_thread())
        if self.away.is_set():
            raise Overloaded("away")


Processes = Callable[[], TextKeys]  # opens the store as another process does


@pytest.fixture(params=["sqlite", "memory", "kafka"])
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Processes]:
    opened: list[TextKeys] = []
    url = request.getfixturevalue("empty_kafka") if request.param == "kafka" else ""
    settings, bus = Settings.read(tmp_path, {}).with_values({"home": tmp_path, "bus": url}), MemoryBus()

    def process() -> TextKeys:
        opened.append(TopicTextKeys(bus, SECRET) if request.param == "memory" else text_keys(settings))
        return opened[-1]

    yield process
    for each in opened:
        each.close()


def opens(texts: Texts, token: str) -> bool:
    try:
        return bool(texts.opened(token))
    except TextLost:
        return False


def made(count: int) -> list[TextKey]:
    return [TextKey.new() for _ in range(count)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_keys_are_found_by_every_process_as_soon_as_they_are_added(process: Processes) -> None:
    one, other = process(), process()
    keys = made(120)
    assert other.get(keys[0].kid) is None
    one.add(keys[:100])
    assert [other.get(key.kid) for key in keys[:100]] == keys[:100]
    other.add(keys[100:])
    assert [one.get(key.kid) for key in keys] == keys
    later = process()
    assert [later.get(key.kid) for key in keys] == keys
    assert one.missing([key.kid for key in keys] + ["never-was"]) == {"never-was"}


def test_destroyed_keys_are_gone_for_good_and_others_stay(process: Processes) -> None:
    one, other = process(), process()
    gone, kept = made(2)
    one.add([gone, kept])
    other.destroy([gone.kid, "never-was"])
    other.destroy([gone.kid])
    other.destroy([])
    for each in (other, process()):
        assert (each.get(gone.kid), each.get(kept.kid)) == (None, kept)
        assert each.missing([gone.kid, kept.kid]) == {gone.kid}


def test_the_key_of_a_run_may_be_made_again_after_an_erasure(process: Processes) -> None:
    keys = process()
    (key,) = made(1)
    for secret in (key.secret, bytes(32)):
        keys.add([key._replace(secret=secret)])
        assert process().get(key.kid) == key._replace(secret=secret)
        keys.destroy([key.kid])
        assert process().get(key.kid) is None


def test_a_key_is_wrapped_for_its_id_under_the_secret_and_never_twice_alike() -> None:
    wrapping, (key, other) = Wrapping(SECRET), made(2)
    value = wrapping.wrapped(key)
    assert key.secret not in value
    assert len(value) == 60
    assert value != wrapping.wrapped(key)
    assert wrapping.unwrapped(key.kid, value) == key.secret
    assert wrapping.unwrapped(other.kid, value) is None
    assert wrapping.unwrapped(key.kid, value[:-1] + bytes([value[-1] ^ 1])) is None
    assert wrapping.unwrapped(key.kid, b"short") is None
    assert Wrapping(b"t" * 32).unwrapped(key.kid, value) is None


# ---- publishers with an outbox


def publisher(bus: Bus, folder: Path, *, opens: bool = False) -> tuple[Intake, Outbox, TopicTextKeys]:
    """An intake that seals, as that of serving, with its outbox and its store."""
    keys = TopicTextKeys(bus, SECRET, SQLiteTextKeys(folder / "text-keys-serving.sqlite"), opens=opens)
    outbox = Outbox(folder / "outbox.sqlite", bus, most=2**24, send_first=keys.flush)
    return Intake(outbox, b"k" * 32, sealer=Sealer(keys, b"k" * 32)), outbox, keys


def talk(intake: Intake, number: int) -> None:
    intake.pair(**PAIR | {"conversation_id": f"c{number}"})


def kids_of(entry: Logged) -> set[str]:
    return keys_in(row_of(decode(entry.value)))


def arrived(bus: Bus, count: int) -> list[Logged]:
    until(lambda: len(everything(bus, PAIRS.name)) == count)
    return everything(bus, PAIRS.name)


def test_every_key_is_on_its_topic_before_a_text_is_on_any(tmp_path: Path) -> None:
    bus = MemoryBus()
    intake, outbox, _ = publisher(bus, tmp_path)
    for number in range(POOL + 20):
        talk(intake, number)
    arrived(bus, POOL + 20)
    outbox.close()
    there: set[str] = set()
    for entry in everything(bus, TEXT_KEYS.name, PAIRS.name):  # in the order in which they were published
        if entry.partition.topic == TEXT_KEYS.name:
            there.add(entry.key.decode())
        else:
            assert kids_of(entry) <= there
    assert len(there) == 2 * POOL


def test_with_the_log_away_nobody_waits_and_nothing_is_lost(tmp_path: Path) -> None:
    bus, count = Unreachable(), 3 * POOL
    intake, outbox, _ = publisher(bus, tmp_path)
    talk(intake, 0)
    arrived(bus, 1)
    bus.away.set()
    bus.asked_by.clear()
    for number in range(count):
        talk(intake, number)
    assert threading.current_thread() not in bus.asked_by
    bus.away.clear()
    entries = arrived(bus, count + 1)
    texts = Texts(TopicTextKeys(bus, SECRET))
    assert all(texts.event(decode(entry.value)).a.text == PAIR["a"]["text"] for entry in entries)  # type: ignore[attr-defined]
    outbox.close()


def test_keys_that_a_killed_process_had_not_sent_are_sent_before_the_texts_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.bus.outbox.DRAIN_TIMEOUT", 0.0)
    bus = Unreachable()
    bus.away.set()
    intake, outbox, _ = publisher(bus, tmp_path)
    talk(intake, 0)
    outbox.close()
    bus.away.clear()
    _, outbox, keys = publisher(bus, tmp_path)
    (entry,) = arrived(bus, 1)
    outbox.close()
    first, *_ = everything(bus, TEXT_KEYS.name, PAIRS.name)
    assert first.partition.topic == TEXT_KEYS.name
    assert all(TopicTextKeys(bus, SECRET).get(kid) for kid in kids_of(entry))
    assert SQLiteTextKeys(tmp_path / "text-keys-serving.sqlite").all() == []
    assert all(keys.get(kid) for kid in kids_of(entry))


def test_a_publisher_forgets_a_destroyed_key_and_asks_nobody_about_it(tmp_path: Path) -> None:
    bus = Unreachable()
    intake, outbox, keys = publisher(bus, tmp_path)
    keys.follow()
    talk(intake, 1)
    (before,) = arrived(bus, 1)
    (kid,) = kids_of(before)
    TopicTextKeys(bus, SECRET).destroy([kid])
    until(lambda: keys._held.secret(kid) == b"")
    bus.away.set()
    assert keys.get(kid) is None, "known without reading on"
    bus.away.clear()
    talk(intake, 1)
    assert kids_of(arrived(bus, 2)[1]).isdisjoint({kid})
    keys.close()
    outbox.close()


# ---- secrets


def test_processes_with_different_secrets_are_told_and_publish_nothing(tmp_path: Path) -> None:
    bus, (key, another) = MemoryBus(), made(2)
    TopicTextKeys(bus, SECRET).add([key])
    wrong = TopicTextKeys(bus, b"w" * 32)
    for ask in (lambda: wrong.get(key.kid), lambda: wrong.add([another]), lambda: wrong.missing([]), lambda: wrong.destroy([key.kid])):
        with pytest.raises(ConfigurationError, match="same pseudonym_key"):
            ask()
    with closing(wrong.follow()):
        until(lambda: wrong.problem is not None)
    unsent = SQLiteTextKeys(tmp_path / "unsent.sqlite")
    serving = TopicTextKeys(bus, b"w" * 32, unsent, opens=False)
    serving.add([another])
    with pytest.raises(ConfigurationError, match="FEEDBACKLOOP_PSEUDONYM_KEY"):
        serving.flush(1)
    assert unsent.all() == [another]
    assert [entry.key.decode() for entry in everything(bus, TEXT_KEYS.name)] == [key.kid]


def test_whose_topic_it_is_says_its_first_key_even_if_others_are_destroyed_before() -> None:
    bus, (gone, key) = MemoryBus(), made(2)
    keys = TopicTextKeys(bus, SECRET)
    keys.destroy(["never-was"])  # nothing is there yet: nothing is published, and no secret is wrong
    keys.add([gone, key])
    compacted = MemoryBus()
    compacted.publish([Record(TEXT_KEYS.name, gone.kid.encode(), b""), _last(bus, key.kid)], timeout=1)
    assert TopicTextKeys(compacted, SECRET).get(key.kid) == key
    with pytest.raises(ConfigurationError):
        TopicTextKeys(compacted, b"w" * 32).get(key.kid)


def test_one_key_that_was_altered_is_lost_and_the_others_are_read(caplog: pytest.LogCaptureFixture) -> None:
    bus, (first, altered, other) = MemoryBus(), made(3)
    TopicTextKeys(bus, SECRET).add([first, other])
    bus.publish([Record(TEXT_KEYS.name, altered.kid.encode(), bytes(60))], timeout=1)
    keys = TopicTextKeys(bus, SECRET)
    assert keys.missing([first.kid, altered.kid, other.kid]) == {altered.kid}
    assert altered.kid in caplog.text


def _last(bus: Bus, kid: str) -> Record:
    entry = [entry for entry in everything(bus, TEXT_KEYS.name) if entry.key == kid.encode()][-1]
    return Record(TEXT_KEYS.name, entry.key, entry.value)


# ---- following the topic


def test_a_destroyed_key_leaves_the_memory_of_other_processes_within_about_a_second() -> None:
    bus, (key,) = MemoryBus(), made(1)
    destroyer = TopicTextKeys(bus, SECRET)
    destroyer.add([key])
    with closing(TopicTextKeys(bus, SECRET).follow()) as keys:
        texts, token = Texts(keys), Cipher(key).seal(b"Dear Rosa", "t")
        assert texts.opened(token) == "Dear Rosa"
        destroyer.destroy([key.kid])
        started = time.monotonic()
        until(lambda: not opens(texts, token))
        assert time.monotonic() - started < KEPT + on_a_topic.POLL + 2.0  # with room for a busy machine


def test_a_known_key_opens_texts_while_the_log_is_away_and_an_unknown_one_is_not_taken_for_lost() -> None:
    bus, (known, unknown) = Unreachable(), made(2)
    elsewhere = TopicTextKeys(bus, SECRET)
    elsewhere.add([known])
    keys = TopicTextKeys(bus, SECRET)
    assert keys.get(known.kid) == known
    elsewhere.add([unknown])
    bus.away.set()
    assert keys.get(known.kid) == known
    with pytest.raises(Overloaded):
        keys.get(unknown.kid)
    bus.away.clear()
    assert keys.get(unknown.kid) == unknown


def test_a_pair_whose_key_cannot_be_read_for_the_moment_is_embedded_later_and_not_put_aside() -> None:
    log, away = MemoryBus(), Unreachable()
    sealing = TopicTextKeys(away, SECRET)
    Intake(log, b"k" * 32, sealer=Sealer(sealing, b"k" * 32)).pair(**PAIR)
    texts = Texts(TopicTextKeys(away, SECRET))

    def embed(events: Sequence[Event]) -> list[Event]:
        return embed_pairs(events, SmallEmbedder(), texts)

    station = HandlerStation(log, "embed", (PAIRS,), embed, batch=10)
    away.away.set()
    with pytest.raises(Overloaded):
        station.step(0)
    away.away.clear()
    station.step(0)
    assert len(everything(log, "feedback.features")) == 1
    assert everything(log, "feedback.quarantine") == []


def test_the_segment_of_a_tombstone_is_closed_by_a_later_record_also_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_a_topic, "SEGMENT", on_a_topic.SEGMENT * 0)
    bus, (key,) = MemoryBus(), made(1)
    keys = TopicTextKeys(bus, SECRET)
    keys.add([key])
    keys.destroy([key.kid])
    values = [entry.value for entry in everything(bus, TEXT_KEYS.name)]
    assert values[1:] == [b""]
    with closing(TopicTextKeys(bus, SECRET).follow()) as restarted:
        restarted.destroy([key.kid])  # as the hub does at its start with all that is erased
        until(lambda: len(everything(bus, TEXT_KEYS.name)) == 3)
    assert {(entry.key.decode(), entry.value) for entry in everything(bus, TEXT_KEYS.name)[1:]} == {(key.kid, b"")}


def test_who_was_away_for_longer_than_tombstones_stay_reads_all_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]
    monkeypatch.setattr("streams.bus.text_keys.time.time", lambda: now[0])
    bus, (gone, key) = MemoryBus(), made(2)
    elsewhere = TopicTextKeys(bus, SECRET)
    elsewhere.add([gone, key])
    keys = TopicTextKeys(bus, SECRET)
    assert keys.get(gone.kid) == gone
    compacted = MemoryBus()
    compacted.publish([_last(bus, key.kid)] * 2, timeout=1)
    bus._logs = compacted._logs  # the key and its tombstone are gone
    now[0] += on_a_topic.TOMBSTONES_KEPT.total_seconds()
    assert keys.missing([gone.kid, key.kid]) == {gone.kid}


def test_a_topic_that_was_made_anew_is_read_from_its_start() -> None:
    bus, (before, after) = MemoryBus(), made(2)
    keys = TopicTextKeys(bus, SECRET)
    keys.add([before])
    assert keys.missing([before.kid]) == set()
    bus._logs.clear()
    read = bus.read

    def lost(*_: Any, **__: Any) -> list[Logged]:
        bus.read = read  # type: ignore[method-assign]
        raise OffsetLost("offset 1 is not in the log")

    bus.read = lost  # type: ignore[method-assign]
    with pytest.raises(Overloaded, match="made anew"):
        keys.get(after.kid)
    TopicTextKeys(bus, SECRET).add([after])
    assert keys.missing([before.kid, after.kid]) == {before.kid}


# ---- on Kafka


def on_kafka(url: str, home: Path, **common: Any) -> Settings:
    return Settings.read(home.parent, {}).with_values({"home": home, "bus": url, "pseudonym_key": "k" * 32} | common)


def served(settings: Settings, bus: Bus, numbers: range) -> None:
    """Conversations that a serving process accepts and forwards."""
    before = len(everything(bus, PAIRS.name))
    outlet, keys = outlet_and_keys(settings, bus, "serving", opens=False)
    try:
        intake = Intake(outlet, b"k" * 32, sealer=sealer_of(settings, keys))
        for number in numbers:
            talk(intake, number)
        arrived(bus, before + len(numbers))
    finally:
        outlet.close()
        keys.close()


def texts_of(events: Sequence[Event]) -> list[str]:
    return [event.a.text for event in events if isinstance(event, PairDrawn)]


def test_processes_on_two_machines_share_keys_and_one_without_the_secret_is_told(tmp_path: Path, empty_kafka: str) -> None:
    one, other, stranger = (
        on_kafka(empty_kafka, tmp_path / name, **more) for name, more in (("1", {}), ("2", {}), ("3", {"pseudonym_key": ""}))
    )
    with closing(open_bus(empty_kafka)) as bus, closing(keys_of(other, bus)) as keys, closing(Texts.of(stranger)) as strange:
        served(one, bus, range(POOL + 1))
        events = [decode(entry.value) for entry in everything(bus, PAIRS.name)]
        assert PAIR["a"]["text"] not in "".join(texts_of(events))
        assert texts_of([Texts(keys).event(event) for event in events]) == [PAIR["a"]["text"]] * (POOL + 1)
        with pytest.raises(ConfigurationError, match="same pseudonym_key"):
            strange.event(events[0])
    assert list((tmp_path / "2").glob("text-keys*")) == []


def test_sealing_is_on_by_the_same_setting_and_an_open_log_goes_on_being_read(tmp_path: Path, empty_kafka: str) -> None:
    settings = on_kafka(empty_kafka, tmp_path / "home")
    with closing(open_bus(empty_kafka)) as bus, closing(Texts.of(settings)) as texts:
        served(settings.with_values(privacy={"seal": False}), bus, range(2))
        assert texts_of([decode(entry.value) for entry in everything(bus, PAIRS.name)]) == [PAIR["a"]["text"]] * 2
        served(settings, bus, range(2, 4))
        events = [texts.event(decode(entry.value)) for entry in everything(bus, PAIRS.name)]
        assert texts_of(events) == [PAIR["a"]["text"]] * 4


def test_without_the_topic_the_reason_is_said_and_texts_wait_in_the_outbox(
    tmp_path: Path, broker: Broker, empty_kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = on_kafka(empty_kafka, tmp_path / "home")
    with closing(KafkaAdminClient(bootstrap_servers=[broker.servers])) as admin, closing(open_bus(empty_kafka)) as bus:
        admin.delete_topics([TEXT_KEYS.name])
        until(lambda: TEXT_KEYS.name not in admin.list_topics())
        outlet, keys = outlet_and_keys(settings, bus, "serving", opens=False)
        talk(Intake(outlet, b"k" * 32, sealer=sealer_of(settings, keys)), 0)
        until(lambda: "feedbackloop topics create" in caplog.text and "feedbackloop topics create" in (keys.problem or ""))
        assert everything(bus, PAIRS.name) == []
        assert create_topics(broker.servers, KafkaSettings())[TEXT_KEYS.name] == "created"
        arrived(bus, 1)
        until(lambda: keys.problem is None)
        outlet.close()
        keys.close()


@pytest.mark.java
def test_while_the_broker_is_away_conversations_go_on_and_are_opened_when_it_is_back(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        create_topics(broker.servers, KafkaSettings())
        settings = on_kafka(broker.url, tmp_path / "home")
        with closing(open_bus(broker.url)) as bus:
            outlet, keys = outlet_and_keys(settings, bus, "serving", opens=False)
            intake = Intake(outlet, b"k" * 32, sealer=sealer_of(settings, keys))
            talk(intake, 0)
            arrived(bus, 1)
            broker.kill()
            for number in range(2 * POOL):
                started = time.monotonic()
                talk(intake, number)
                assert time.monotonic() - started < on_a_topic.TIMEOUT / 2, "waited for Kafka"
            broker.start()
            entries = arrived(bus, 2 * POOL + 1)
            outlet.close()
            keys.close()
        with closing(Texts.of(settings)) as texts:
            assert texts_of([texts.event(decode(entry.value)) for entry in entries]) == [PAIR["a"]["text"]] * (2 * POOL + 1)


def test_the_bytes_of_a_destroyed_key_leave_the_broker_s_disk(broker: Broker, empty_kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_a_topic, "SEGMENT", on_a_topic.SEGMENT / 600)  # a second
    quick = {"segment.ms": "1000", "max.compaction.lag.ms": "1000", "min.cleanable.dirty.ratio": "0", "file.delete.delay.ms": "0"}
    with closing(KafkaAdminClient(bootstrap_servers=[broker.servers])) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, TEXT_KEYS.name, quick)])
    folder = broker.folder / "data" / f"{TEXT_KEYS.name}-0"

    def on_disk(value: bytes) -> bool:
        return any(value in file.read_bytes() for file in folder.iterdir() if file.is_file())

    gone, kept = made(2)
    with closing(KafkaBus(broker.servers, KafkaSettings())) as bus, closing(TopicTextKeys(bus, SECRET).follow()) as keys:
        keys.add([gone, kept])
        wrapped = {entry.key.decode(): entry.value for entry in everything(bus, TEXT_KEYS.name)}
        assert on_disk(wrapped[gone.kid])
        keys.destroy([gone.kid])
        deadline = time.monotonic() + 90  # the broker's cleaner looks every 15 s
        while _on_disk_safely(on_disk, wrapped[gone.kid]):
            assert time.monotonic() < deadline, "not compacted"
            time.sleep(0.5)
        assert on_disk(wrapped[kept.kid])
        restarted = TopicTextKeys(bus, SECRET)
        assert restarted.missing([gone.kid, kept.kid]) == {gone.kid}
        assert restarted.get(kept.kid) == kept


def _on_disk_safely(on_disk: Callable[[bytes], bool], value: bytes) -> bool:
    """True also while the cleaner is exchanging files."""
    try:
        return on_disk(value)
    except FileNotFoundError:
        return True
