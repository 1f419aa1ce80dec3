"""Who serves while the log is away: whoever served last, also after a start."""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serving.promotion import Promotions
from storage.artifacts import Artifacts
from storage.errors import Overloaded
from streams.bus import Bus, Partition
from streams.sqlite_bus import SQLiteBus


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
        explain=explain,
        give_up=lambda error: None,
        memory=folder / "serving" / "champion.json",
    )
    promotions.start()
    try:
        yield spoke
    finally:
        promotions.stop()


def test_while_the_log_is_away_the_last_champion_serves_and_before_there_was_one_the_reason_is_said(tmp_path: Path) -> None:
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
