"""A warehouse rebuilt from the log equals the live one, on either bus."""

import threading
from contextlib import closing
from pathlib import Path

import pytest

from storage.errors import ConfigurationError, SchemaTooNew
from storage.warehouse.contents import contents
from storage.warehouse.warehouse import Warehouse
from streams.bus.open import open_bus
from streams.bus.protocol import Bus, Record
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import TOPICS
from streams.intake import Intake
from streams.replay import replay
from streams.stations.embed import embed_pairs
from streams.stations.sink import Sink
from tests.streams.bus_contract import everything
from tests.streams.examples import SmallEmbedder

PROMPT = [{"role": "user", "content": "Is the role still open?"}]


def fill(bus: Bus, count: int) -> None:
    """Publish pairs, features and judgments: some judgments are replaced, some are void, and one is unreadable."""
    intake = Intake(bus, b"k" * 32)
    for i in range(count):
        yes, no = {"text": f"Yes, {i}.", "version": "base"}, {"text": f"No, {i}.", "version": "base"}
        pair = intake.pair(prompt=PROMPT, conversation_id=f"c-{i}", a=yes, b=no)
        intake.judgment(pair_id=pair.pair_id, recruiter="Ada", choice="A" if i % 3 else "neither")
        intake.publish(embed_pairs([pair], SmallEmbedder()))
        if i % 2:
            intake.judgment(pair_id=pair.pair_id, recruiter="Ada", choice="B")
    bus.publish([Record("feedback.judgments", b"", b"{")], timeout=5)


def live(bus: Bus, path: Path, count: int) -> Warehouse:
    """The warehouse of a hub that ran while the log was filled."""
    warehouse = Warehouse.open(path)
    sink = Sink(bus, warehouse, "hub-1")
    sink.start()
    fill(bus, count)
    while bus.read(sink._after, limit=1, wait=0):
        sink.step(0)
    return warehouse


def test_a_replay_while_the_hub_runs_gives_the_hubs_contents(tmp_path: Path) -> None:
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        said: list[tuple[int, int]] = []
        with closing(live(bus, tmp_path / "live.duckdb", 12)) as warehouse:
            rebuilt = replay(bus, tmp_path / "again.duckdb", lambda *at: said.append(at))
            assert rebuilt == contents(warehouse)
        assert rebuilt["preference_joined"].rows > rebuilt["preference_removed"].rows > 0
        assert said[-1][0] == said[-1][1] == len(everything(bus, *TOPICS))


def test_a_replay_stops_at_the_end_of_the_log_at_its_start_and_never_overwrites_a_file(tmp_path: Path) -> None:
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        fill(bus, 2)
        before = replay(bus, tmp_path / "one.duckdb", lambda *_: None)
        grown = threading.Event()

        def grow(*_: int) -> None:
            if not grown.is_set():
                grown.set()
                fill(bus, 2)

        assert replay(bus, tmp_path / "two.duckdb", grow) == before
        with pytest.raises(ConfigurationError, match="there already"):
            replay(bus, tmp_path / "two.duckdb", lambda *_: None)


def test_a_replay_stops_at_a_newer_schema(tmp_path: Path) -> None:
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        bus.publish([Record("feedback.judgments", b"", b'{"kind": "JudgmentGiven", "schema_version": 9}')], timeout=5)
        with pytest.raises(SchemaTooNew, match="upgrade"):
            replay(bus, tmp_path / "new.duckdb", lambda *_: None)


def test_both_buses_give_the_same_warehouse(tmp_path: Path, empty_kafka: str) -> None:
    with SQLiteBus(tmp_path / "bus.sqlite") as here, closing(open_bus(empty_kafka)) as there:
        live(here, tmp_path / "live.duckdb", 12).close()
        for topic in TOPICS:  # topic after topic: on Kafka the order across topics and partitions differs
            there.publish([Record(topic, entry.key, entry.value) for entry in everything(here, topic)], timeout=20)
        assert replay(there, tmp_path / "kafka.duckdb", lambda *_: None) == replay(here, tmp_path / "sqlite.duckdb", lambda *_: None)
