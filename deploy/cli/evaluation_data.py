"""The judgments that a model is evaluated on: a file, or a fresh snapshot of the loop's warehouse."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

from deploy.cli.client import hub_runs
from deploy.cli.contenders import has_log
from deploy.cli.records import caught_up_warehouse
from storage.errors import ConfigurationError, DataRefused
from storage.events import Source
from storage.settings import Settings
from storage.snapshots.snapshot import freeze
from storage.texts.texts import Texts
from storage.warehouse.warehouse import Warehouse
from streams.bus.open import bus_of
from streams.replay import replay
from trainers.runs.data import RunData


@contextmanager
def evaluation_data(settings: Settings, file: Path | None, sources: Sequence[Source], say: Callable[[str], None]) -> Iterator[RunData]:
    """The file's records, or a snapshot of what the warehouse holds now, with the strata that the loop gave its conversations.

    A hub has the warehouse's lock. While one runs, the log is replayed into a temporary warehouse.

    Raises
    ------
    ConfigurationError
        There is no such file, or no loop has run.
    DataRefused
        There are no judgments of these sources in the evaluation stratum.
    """
    if file is not None:
        if not file.exists():
            raise ConfigurationError(f"{file}: there is no such file")
        with closing(Texts.of(settings)) as texts:
            data = RunData.read(file, texts)
            _require_held_out(data, str(file))
            yield data
        return
    if not has_log(settings):
        raise ConfigurationError(f"no loop has run in {settings.common.home}: name a file of judgments with --data, or set home")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if hub_runs(settings):
            say("a hub runs: replaying the log into a temporary warehouse")
            with closing(bus_of(settings)) as bus:
                replay(bus, folder / "warehouse.duckdb", lambda done, total: None)
            with Warehouse.open(folder / "warehouse.duckdb") as warehouse:
                _freeze(warehouse, folder / "snapshot", sources)
        else:
            with caught_up_warehouse(settings) as warehouse:
                _freeze(warehouse, folder / "snapshot", sources)
        with closing(Texts.of(settings)) as texts:
            data = RunData.read(folder / "snapshot", texts)
            _require_held_out(data, f"the warehouse, of the sources {', '.join(sources)} (--source names others)")
            yield data


def _freeze(warehouse: Warehouse, folder: Path, sources: Sequence[Source]) -> None:
    freeze(warehouse, folder, run_id=uuid4(), through_sequence=warehouse.last_sequence, sources=sources)


def _require_held_out(data: RunData, where: str) -> None:
    """Refuse before any model is loaded."""
    held_out = sum(each.stratum == "evaluation" for each in data.preferences)
    if not held_out:
        raise DataRefused(f"nothing to evaluate on: {len(data.preferences)} judgments and none in the evaluation stratum, in {where}")
