"""Kafka only: partitions, topic creation, authentication, TLS, and broker outages."""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import pytest
from kafka import KafkaAdminClient

from deploy.broker import Broker
from storage.errors import ConfigurationError, NotReachable, OffsetLost, Overloaded
from streams.bus import kafka as kafka_bus
from streams.bus import kafka_topics
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.kafka_topics import create_topics
from streams.bus.open import open_bus
from streams.bus.protocol import Bus, Logged, Partition, Record
from streams.bus.topics import PAIRS, REWARD, TEXT_KEYS, TOPICS, VERSIONS
from streams.stations.agents import Agents
from streams.stations.table import consumer
from tests.streams.bus_contract import everything

pytestmark = pytest.mark.java

ALICE = KafkaSettings(security="SASL_PLAINTEXT", username="alice", password="wonderland")


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, f"not within {seconds} s"
        sleep(0.05)


@pytest.fixture
def bus(empty_kafka: str) -> Iterator[Bus]:
    with closing(open_bus(empty_kafka)) as opened:
        yield opened


def test_attempts_to_reach_an_absent_broker_leave_no_thread_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_bus, "BOOTSTRAP_TIMEOUT", 200)
    monkeypatch.setattr(kafka_bus, "RETRY_FOR", 0.1)
    monkeypatch.setattr(kafka_topics, "BOOTSTRAP_TIMEOUT", 200)
    before = set(threading.enumerate())
    with closing(open_bus("kafka://127.0.0.1:9")) as away:
        for ask in (
            lambda: away.read({Partition(PAIRS.name, 0): -1}, limit=1, wait=0),
            lambda: away.bounds([PAIRS.name]),
            lambda: away.marked("reader"),
            lambda: away.publish([Record(PAIRS.name, b"", b"1")], timeout=0.2),
        ):
            with pytest.raises(Overloaded):
                ask()
    with pytest.raises(NotReachable):
        create_topics("127.0.0.1:9", KafkaSettings())
    until(lambda: set(threading.enumerate()) <= before)


def test_a_key_keeps_its_order_in_one_of_several_partitions(bus: Bus) -> None:
    bus.publish([Record(PAIRS.name, f"key {i % 20}".encode(), str(i).encode()) for i in range(200)], timeout=20)
    entries = []
    after = {partition: first - 1 for partition, (first, _) in bus.bounds([PAIRS.name]).items()}
    while found := bus.read(after, limit=64, wait=0):
        entries += found
        after.update({entry.partition: entry.offset for entry in found})
    assert sorted(int(entry.value) for entry in entries) == list(range(200))
    by_key: dict[bytes, list[Logged]] = {}
    for entry in entries:
        by_key.setdefault(entry.key, []).append(entry)
    assert len({entry.partition for entry in entries}) > 4
    for same in by_key.values():
        assert len({entry.partition for entry in same}) == 1
        assert [int(entry.value) for entry in same] == sorted(int(entry.value) for entry in same)


def test_a_backlog_is_read_from_all_topics_in_turn_and_completely(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = [Record(VERSIONS.name, b"", b"v%d" % i) for i in range(200)], [Record(REWARD.name, b"", b"r%d" % i) for i in range(3_000)]
    bus.publish([*many, *few], timeout=20)
    after = {Partition(VERSIONS.name, 0): -1, Partition(REWARD.name, 0): -1}
    first = bus.read(after, limit=100, wait=5)
    assert {entry.partition.topic for entry in first} == {VERSIONS.name, REWARD.name}
    asked: list[Mapping[Partition, int]] = []  # for the end of the log, which waits behind a fetch of the other, exhausted topic
    is_behind = kafka_bus._Reader.is_behind

    def counted(reader: kafka_bus._Reader, at: Mapping[Partition, int]) -> bool:
        asked.append(at)
        return is_behind(reader, at)

    monkeypatch.setattr(kafka_bus._Reader, "is_behind", counted)
    entries: list[Logged] = []
    while found := bus.read(after, limit=100, wait=0):  # from the start again, though some of it was fetched before
        entries += found
        after.update({entry.partition: entry.offset for entry in found})
    assert [entry.value for entry in entries if entry.partition.topic == VERSIONS.name] == [record.value for record in few]
    assert [entry.value for entry in entries if entry.partition.topic == REWARD.name] == [record.value for record in many]
    assert len(asked) < 5, "not once for each of the 33 reads"


def test_small_entries_do_not_run_ahead_of_large_ones(bus: Bus) -> None:
    large = [Record(VERSIONS.name, b"", b"%d" % i + bytes(4_000)) for i in range(600)]  # more than two shares
    bus.publish([*large, *(Record(REWARD.name, b"", b"%d" % i) for i in range(3_000))], timeout=20)  # a part of one
    after, read = {Partition(VERSIONS.name, 0): -1, Partition(REWARD.name, 0): -1}, {VERSIONS.name: 0, REWARD.name: 0}
    while read[VERSIONS.name] < len(large):
        for entry in bus.read(after, limit=200, wait=5):
            read[entry.partition.topic] += 1
            after[entry.partition] = entry.offset
        sleep(0.02)  # as if working on them
    assert read[REWARD.name] < 3 * len(large)  # not all of them, however slowly the broker answers


def test_reads_of_other_partitions_use_other_consumers_from_a_bounded_pool(broker: Broker, empty_kafka: str) -> None:
    with closing(kafka_bus.KafkaBus(broker.servers, KafkaSettings())) as bus:
        bus.publish([Record(PAIRS.name, f"key {i}".encode(), b"") for i in range(100)], timeout=20)
        partitions = list(bus.bounds([PAIRS.name]))
        for _ in range(2):
            bus.read({partitions[0]: -1}, limit=1, wait=0)
            bus.read({partitions[1]: -1}, limit=1, wait=0)
        assert [reader.assigned for reader in bus._idle if reader.assigned] == [{partitions[0]}, {partitions[1]}]
        for partition in partitions:
            bus.read({partition: -1}, limit=1, wait=0)
        assert len(bus._idle) == kafka_bus.MAX_IDLE


def test_an_entry_larger_than_a_partition_s_share_is_read(bus: Bus) -> None:
    large = bytes(3 * kafka_bus.PARTITION_FETCH_BYTES)
    bus.publish([Record(VERSIONS.name, b"", value) for value in (b"before", large, b"after")], timeout=20)
    after, values = {Partition(VERSIONS.name, 0): -1}, []
    while found := bus.read(after, limit=10, wait=0):
        values += [entry.value for entry in found]
        after.update({entry.partition: entry.offset for entry in found})
    assert values == [b"before", large, b"after"]


def test_an_offset_beyond_the_log_is_an_error_for_a_reader_that_waits_too(bus: Bus) -> None:
    with pytest.raises(OffsetLost, match=r"feedback\.pairs: offset 6 of partition 3"):
        bus.read({Partition(PAIRS.name, 3): 5, Partition(PAIRS.name, 2): -1}, limit=10, wait=5)
    assert bus.read({Partition(PAIRS.name, 3): -1}, limit=10, wait=0.1) == []


def test_creating_topics_again_changes_nothing_adds_partitions_and_never_takes_one_away(
    broker: Broker, empty_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(create_topics(broker.servers, KafkaSettings()).values()) == {"unchanged"}
    monkeypatch.setitem(TOPICS, PAIRS.name, replace(PAIRS, partitions=10))
    assert create_topics(broker.servers, KafkaSettings())[PAIRS.name] == "8 → 10 partitions"
    monkeypatch.setattr(kafka_bus, "METADATA_MAX_AGE", 500)
    with closing(open_bus(broker.url)) as opened:
        until(lambda: len(opened.bounds([PAIRS.name])) == 10)
    monkeypatch.setitem(TOPICS, PAIRS.name, PAIRS)
    with pytest.raises(ConfigurationError, match="has 10 partitions and the table says 8: a topic cannot shrink"):
        create_topics(broker.servers, KafkaSettings())


def test_only_the_keys_of_sealed_texts_are_compacted(broker: Broker, empty_kafka: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=[broker.servers])) as admin:
        configs = kafka_topics._configs(admin, [*TOPICS, TEXT_KEYS.name])
    assert {name for name, config in configs.items() if config["cleanup.policy"] != "delete"} == {TEXT_KEYS.name}
    assert {config["retention.ms"] for config in configs.values()} == {"-1"}
    assert configs[TEXT_KEYS.name]["max.compaction.lag.ms"] == "3600000"
    assert int(configs[TEXT_KEYS.name]["segment.ms"]) < 3_600_000


def test_a_missing_topic_is_reported_with_how_to_create_it(empty_kafka: str) -> None:
    with closing(open_bus(empty_kafka)) as opened, pytest.raises(ConfigurationError, match="feedbackloop topics create"):
        opened.bounds(["feedback.unheard"])


def test_an_address_without_a_broker_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_topics, "BOOTSTRAP_TIMEOUT", 1_000)
    with pytest.raises(NotReachable, match="does not answer"):
        create_topics("127.0.0.1:9", KafkaSettings())


def test_while_the_broker_is_away_publishing_is_refused_and_afterwards_everything_acknowledged_is_there(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    broker.start()
    try:
        create_topics(broker.servers, KafkaSettings())
        with closing(open_bus(broker.url)) as bus:
            bus.publish([Record(PAIRS.name, b"k", b"before")], timeout=20)
            broker.kill()
            with pytest.raises(Overloaded, match="Kafka did not acknowledge within 1 s"):
                bus.publish([Record(PAIRS.name, b"k", b"during")], timeout=1)
            broker.start()
            bus.publish([Record(PAIRS.name, b"k", b"after")], timeout=30)
            (at,) = {position.partition for position in bus.publish([Record(PAIRS.name, b"k", b"last")], timeout=30)}
            values = [entry.value for entry in bus.read({at: -1}, limit=10, wait=0)]
            assert [value for value in values if value != b"during"] == [b"before", b"after", b"last"]
    finally:
        broker.stop()


def test_after_a_broker_has_hung_for_longer_than_entries_live_publishing_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_bus, "DELIVERY_TIMEOUT", 2_000)
    monkeypatch.setattr(kafka_bus, "REQUEST_TIMEOUT", 1_000)
    records = [Record(PAIRS.name, str(i).encode(), b"pair") for i in range(40)]

    def published(bus: Bus) -> bool:
        with contextlib.suppress(Overloaded):
            return bool(bus.publish(records, timeout=4))
        return False

    with Broker(tmp_path / "broker") as broker:
        assert broker.pid is not None
        create_topics(broker.servers, KafkaSettings())
        with closing(open_bus(broker.url)) as bus:
            until(lambda: published(bus))
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                assert not published(bus)
                assert not published(bus)
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            until(lambda: published(bus))


class Collector:
    """A station that collects the entries that it is given."""

    def __init__(self) -> None:
        self.entries: list[Logged] = []

    def handle(self, entries: Sequence[Logged]) -> None:
        self.entries += entries

    def step(self, wait: float) -> None: ...

    def close(self) -> None: ...


class Broken(Collector):
    """A station with a bug."""

    def handle(self, entries: Sequence[Logged]) -> None:
        raise KeyError("a mistake")


def test_an_unexpected_error_ends_the_worker_and_the_next_one_gets_the_same_entries(broker: Broker, bus: Bus, tmp_path: Path) -> None:
    bus.publish([Record(PAIRS.name, str(i).encode(), b"pair") for i in range(20)], timeout=20)
    broken = Agents(broker.servers, KafkaSettings(), tmp_path / "broken")
    broken.add(consumer("embed"), Broken, batch=10)
    assert str(asyncio.run(broken.run(threading.Event()))) == "embed crashed: KeyError: 'a mistake'"
    collector, stop = Collector(), threading.Event()
    mended = Agents(broker.servers, KafkaSettings(), tmp_path / "mended")
    mended.add(consumer("embed"), lambda: collector, batch=10)
    running = threading.Thread(target=asyncio.run, args=(mended.run(stop),))
    running.start()
    until(lambda: len({entry.key for entry in collector.entries}) == 20)
    stop.set()
    running.join(20)


def check_bus_and_agents(broker: Broker, kafka: KafkaSettings, folder: Path) -> None:
    """Bus and agents can both connect to the broker: agents receive what the bus publishes."""
    collector, stop = Collector(), threading.Event()
    create_topics(broker.servers, kafka)
    agents = Agents(broker.servers, kafka, folder)
    agents.add(consumer("embed"), lambda: collector, batch=10)
    running = threading.Thread(target=asyncio.run, args=(agents.run(stop),))
    running.start()
    with closing(open_bus(broker.url, kafka)) as bus:
        bus.publish([Record(PAIRS.name, str(i).encode(), b"pair") for i in range(20)], timeout=20)
        until(lambda: len(collector.entries) >= 20)
        assert {entry[:2] for entry in collector.entries} == {entry[:2] for entry in everything(bus, PAIRS.name)}
    stop.set()
    running.join(20)
    assert len({entry.key for entry in collector.entries}) == 20


def test_bus_and_agents_connect_with_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Broker(tmp_path / "broker", sasl=("alice", "wonderland")) as broker:
        with monkeypatch.context() as patch:
            patch.setattr(kafka_topics, "BOOTSTRAP_TIMEOUT", 2_000)
            with pytest.raises(NotReachable, match=r"username and password in \[kafka\]"):
                create_topics(broker.servers, ALICE.model_copy(update={"username": "mallory"}))
        check_bus_and_agents(broker, ALICE, tmp_path / "faust")


@pytest.mark.parametrize("kafka", [KafkaSettings(security="SSL"), ALICE.model_copy(update={"security": "SASL_SSL"})])
def test_bus_and_agents_connect_with_tls(kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key_and_certificate, authority = certified(tmp_path / "ours")
    _, stranger = certified(tmp_path / "theirs")
    sasl = ("alice", "wonderland") if kafka.username else None
    with Broker(tmp_path / "broker", sasl=sasl, tls=(key_and_certificate, authority)) as broker:
        with monkeypatch.context() as patch:
            patch.setattr(kafka_topics, "BOOTSTRAP_TIMEOUT", 2_000)
            with pytest.raises(NotReachable, match=r"cannot be trusted: .*certificate verify failed.*; see cafile in \[kafka\]"):
                create_topics(broker.servers, kafka.model_copy(update={"cafile": str(stranger)}))
        check_bus_and_agents(broker, kafka.model_copy(update={"cafile": str(authority)}), tmp_path / "faust")


def certified(folder: Path) -> tuple[Path, Path]:
    """A key with a certificate for 127.0.0.1 in one PEM file, and the temporary certificate authority that signed it in another."""
    folder.mkdir()
    authority, request, signed, key, both = (folder / name for name in ("ca.pem", "request.pem", "cert.pem", "key.pem", "broker.pem"))
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for words in (
        ["req", "-x509", *new_key, "-keyout", folder / "ca.key", "-out", authority, "-subj", f"/CN={folder.name}", "-days", "2"],
        ["req", *new_key, "-keyout", key, "-out", request, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        ["x509", "-req", "-in", request, "-CA", authority, "-CAkey", folder / "ca.key", "-copy_extensions", "copy", "-out", signed],
    ):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    both.write_text(key.read_text() + signed.read_text())
    return both, authority
