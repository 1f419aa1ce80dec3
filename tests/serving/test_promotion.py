"""Following the champion: log outages, quarantined events and newer schema versions."""

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serving.promotion import Promotions
from storage.artifacts import Artifacts
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.errors import Overloaded
from storage.events import ModelPromoted, ReviewDecided
from storage.events.wire import encode
from streams.attestation.admission import Admission
from streams.bus.protocol import Bus, Partition, Record, records_of
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import REQUESTED, VERSIONS
from streams.versions import version_name
from tests.streams.examples import evaluated, of_its_run


class Away(SQLiteBus):
    """A log that does not answer."""

    def bounds(self, topics: Collection[str]) -> Mapping[Partition, tuple[int, int]]:
        raise Overloaded("Kafka does not answer; try again")


@contextmanager
def following(bus: Bus, folder: Path, installed: list[str], explained: list[str]) -> Iterator[threading.Event]:
    spoke = threading.Event()

    def install(name: str, adapter: Path | None) -> None:
        installed.append(name)
        spoke.set()

    def explain(reason: str) -> None:
        explained.append(reason)
        spoke.set()

    promotions = Promotions(
        bus,
        Artifacts(str(folder / "artifacts")),
        install=install,
        install_challenger=lambda challenger, adapter: None,
        explain=explain,
        give_up=lambda error: None,
        memory=folder / "serving" / "champion.json",
        admission=Admission(Artifacts(str(folder / "artifacts")), Keys(folder, AttestationSettings()), lambda: None),
    )
    promotions.start()
    try:
        yield spoke
    finally:
        promotions.stop()


def test_while_the_log_is_down_the_last_champion_serves_or_the_reason_is_reported(tmp_path: Path) -> None:
    installed: list[str] = []
    explained: list[str] = []
    with Away(tmp_path / "away.sqlite") as bus, following(bus, tmp_path, installed, explained) as spoke:
        assert spoke.wait(10)
    assert (installed, explained[0]) == ([], "Kafka does not answer; try again")
    with SQLiteBus(tmp_path / "bus.sqlite") as bus, following(bus, tmp_path, installed, explained) as spoke:
        assert spoke.wait(10)
    with Away(tmp_path / "away.sqlite") as bus, following(bus, tmp_path, installed, explained) as spoke:
        assert spoke.wait(10)
    assert installed == ["base", "base"]


def test_events_that_the_hub_quarantines_are_ignored_by_serving_too(tmp_path: Path) -> None:
    """A TrainingRequested on the wrong topic is quarantined by every reader, so its run does not exist."""
    store = Artifacts(str(tmp_path / "artifacts"))
    installed: list[str] = []
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        for name in ("one", "two"):
            policy = store.put_bytes(name.encode())
            requested, *rest = of_its_run(evaluated(name, policy=policy, version=version_name(policy)), store)
            review = ReviewDecided(source="product", version=version_name(policy), decision="approve", reviewer="Ada", reason="better")
            promoted = ModelPromoted(source="product", version=version_name(policy), review=review.event_id)
            topic = VERSIONS.name if name == "one" else REQUESTED.name
            bus.publish([Record(topic, b"", encode(requested)), *records_of([*rest, review, promoted])], timeout=5)
        with following(bus, tmp_path, installed, []) as spoke:
            assert spoke.wait(10)
    assert installed == [version_name(policy)]


def test_an_event_of_a_newer_schema_keeps_the_current_version_serving(tmp_path: Path) -> None:
    installed: list[str] = []
    explained: list[str] = []
    newer = b'{"kind": "ModelPromoted", "schema_version": 99}'
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        bus.publish([Record(VERSIONS.name, b"", newer)], timeout=5)
        with following(bus, tmp_path, installed, explained) as spoke:
            assert spoke.wait(10)
            deadline = time.monotonic() + 10
            while not explained:
                assert time.monotonic() < deadline
                spoke.clear()
                spoke.wait(0.1)
    assert installed == ["base"]
    assert "upgrade it" in explained[0]
