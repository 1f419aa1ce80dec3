"""The processes run the rows of the table of consumers: an added row is consumed without any other change."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from storage.errors import ConfigurationError
from storage.events import Event, EventQuarantined, ResponseRated
from storage.events.wire import decode
from storage.settings import Settings
from storage.texts.texts import Texts
from streams.bus.protocol import records_of
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import QUARANTINE, RATINGS, TOPICS
from streams.processor import start_consumers
from streams.stations import table
from streams.stations.contexts import ProcessorContext
from streams.stations.runner import Runner
from streams.stations.table import Consumer, consumer, consumers_of
from tests.streams.bus_contract import everything
from tests.streams.examples import SmallEmbedder


def refuse_everything(context: ProcessorContext) -> Callable[[Sequence[Event]], list[Event]]:
    def handle(events: Sequence[Event]) -> list[Event]:
        raise ValueError(f"not today, {context.embedder.name}")

    return handle


def test_an_added_row_is_run_by_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Consumer("refuse", "processor", (RATINGS,), refuse_everything, handler=True)
    monkeypatch.setattr(table, "CONSUMERS", (*table.CONSUMERS, row))
    settings = Settings.read(tmp_path, {}).with_values({"home": tmp_path})
    stop = threading.Event()
    with closing(SQLiteBus(tmp_path / "bus.sqlite")) as bus:
        runner = Runner(stop)
        start_consumers(runner, bus, settings, SmallEmbedder(), Texts.of(settings), stop)
        assert {"embed", "learner", "trigger", "refuse"} <= set(runner.checks)
        rated = ResponseRated(source="product", conversation_id="c-1", recruiter="r-1", thumb="up")
        bus.publish(records_of([rated]), timeout=5)
        deadline = threading.Event()
        for _ in range(200):
            if found := everything(bus, QUARANTINE.name):
                break
            deadline.wait(0.05)
        stop.set()
        assert runner.join(5)
    (entry,) = found
    quarantined = decode(entry.value)
    assert isinstance(quarantined, EventQuarantined)
    assert (quarantined.reader, quarantined.reason) == ("refuse", "ValueError: not today, small")


def test_two_rows_with_the_same_group_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CONSUMERS", (*table.CONSUMERS, consumer("embed")))
    with pytest.raises(ConfigurationError, match="two rows of the table of consumers are named 'embed'"):
        consumers_of("hub")


def test_every_topic_reaches_the_warehouse() -> None:
    assert set(consumer("sink").topics) == set(TOPICS.values())
