"""Import, export, verify and impact ratios: through the hub if one runs, else with the same functions on the same files."""

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from dashboard.actions.exports import Exporter
from dashboard.actions.verification import verified as verify_home
from deploy.cli.client import get, get_bytes, hub_runs
from storage.artifacts import Artifacts
from storage.errors import ConfigurationError
from storage.events import Source
from storage.settings import Settings
from storage.texts.keys import text_keys
from storage.texts.texts import Texts
from storage.warehouse.warehouse import Warehouse
from streams.bus.lag import lag
from streams.bus.open import bus_of
from streams.bus.protocol import Bus
from streams.bus.topics import PAIRS, TOPICS
from streams.imports import ImportReport, import_file
from streams.privacy.redaction import Redactor
from streams.privacy.sealing import sealer_of
from streams.privacy.settings import PrivacySettings
from streams.pseudonyms import pseudonym_key
from streams.stations.embed import embed_pairs
from streams.stations.runner import HandlerStation
from streams.stations.sink import Sink
from streams.stations.table import consumer
from trainers.audits.outcomes.tables import OutcomesTable, outcomes_table
from trainers.data.demonstration import Demonstration
from trainers.data.messages import messages_in
from trainers.data.rating import Rating

EMBED_BATCH = 64  # favours throughput: nobody waits for a single pair here
ENDINGS = {".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".parquet": "parquet"}


def import_records(
    settings: Settings, file: Path, objective: str, count: bool, progress: Callable[[int, int], None] | None = None
) -> ImportReport:
    """Import a file's records; see :func:`streams.imports.import_file`."""
    if not file.is_file():
        raise ConfigurationError(f"{file}: there is no such file")
    redactor = Redactor(settings.section("privacy", PrivacySettings))
    with closing(_bus(settings)) as bus, closing(text_keys(settings)) as keys:
        key, sealer = pseudonym_key(settings.common), sealer_of(settings, keys)
        return import_file(file, bus, key, objective=objective, counts=count, redactor=redactor, sealer=sealer, progress=progress)


def export_form(file: Path, form: str | None) -> str:
    """``jsonl`` or ``parquet``, by the file's ending, or ``form`` if the ending is not known.

    Raises
    ------
    ConfigurationError
        The ending is not known and no form is named, or the two contradict each other.
    """
    name = file.name.lower()
    by_name = next((known for ending, known in ENDINGS.items() if name.endswith(ending)), None)
    found = by_name or form
    if found is None:
        raise ConfigurationError(f"{file}: its ending is not a known format; end it with {', '.join(ENDINGS)}, or choose one with --format")
    if form is not None and by_name not in (None, form):
        raise ConfigurationError(f"{file}: its ending says {by_name} and --format says {form}; change one of the two")
    if form == "parquet" and name.endswith(".gz"):
        raise ConfigurationError(f"{file}: Parquet is compressed internally and not gzipped; end it with .parquet")
    return found


def export_file(settings: Settings, file: Path, form: str, sources: Sequence[Source] = ()) -> int:
    """Write the decisive preferences to ``file`` as JSONL (gzipped for a name that ends with ``.gz``) or Parquet; returns how many."""
    data = export_bytes(settings, form, sources)
    packed = file.name.lower().endswith(".gz")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(data, mtime=0) if packed else data)  # no timestamp, so that the same records give the same bytes
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from error
    if form == "jsonl":
        return data.count(b"\n")
    import pyarrow
    import pyarrow.parquet

    rows: int = pyarrow.parquet.read_metadata(pyarrow.BufferReader(data)).num_rows
    return rows


def export_bytes(settings: Settings, form: str, sources: Sequence[Source]) -> bytes:
    """The decisive preferences, of every source if ``sources`` is empty."""
    if hub_runs(settings):
        return get_bytes(settings, "/v1/export", format=form, source=list(sources))
    with _opened(settings) as (bus, warehouse), closing(Texts.of(settings)) as texts:
        _catch_up(settings, bus, warehouse, texts)
        return Exporter(warehouse, texts).export("parquet" if form == "parquet" else "jsonl", sources)


def warehouse_ratings(settings: Settings, sources: Sequence[Source]) -> list[Rating]:
    """The warehouse's thumbs and both replies of pairs judged "neither", with strata by prompt, as those of exported preferences."""
    records = _exported(settings, "ratings", Exporter.ratings, sources)
    return [
        Rating.of_reply(messages_in(each["prompt"], "prompt"), each["completion"][0]["content"], each["label"], each["recruiter"])
        for each in records
    ]


def warehouse_rewrites(settings: Settings, sources: Sequence[Source]) -> list[Demonstration]:
    """The recruiters' rewrites in the warehouse that are preferred to the original, with strata as those of exported preferences."""
    records = _exported(settings, "rewrites", Exporter.rewrites, sources)
    return [
        Demonstration.of_reply(messages_in(each["messages"][:-1], "messages"), each["messages"][-1]["content"], each["source"])
        for each in records
    ]


def _exported(
    settings: Settings, name: str, export: Callable[[Exporter, Sequence[Source]], bytes], sources: Sequence[Source]
) -> list[dict[str, Any]]:
    """The records of ``/v1/export/NAME``, which ``export`` makes."""
    if hub_runs(settings):
        raw = get_bytes(settings, f"/v1/export/{name}", source=list(sources))
    else:
        with _opened(settings) as (bus, warehouse), closing(Texts.of(settings)) as texts:
            _catch_up(settings, bus, warehouse, texts)
            raw = export(Exporter(warehouse, texts), sources)
    return [orjson.loads(line) for line in raw.splitlines()]


def verified(settings: Settings, *, deep: bool = False) -> dict[str, Any]:
    """What differs between log and warehouse; changes neither."""
    if hub_runs(settings):
        return get(settings, "/v1/verify?deep=true" if deep else "/v1/verify")
    with _opened(settings) as (bus, warehouse), closing(Texts.of(settings)) as texts:
        return verify_home(bus, warehouse, Artifacts(settings.common.artifacts_url), settings, texts, deep=deep)


def impact_ratios(settings: Settings, since: date, until: date, sources: Sequence[Source]) -> OutcomesTable:
    """The impact ratios of the decisions recorded from ``since`` to ``until``; see ``outcomes_table``."""
    if hub_runs(settings):
        parameters = {"from": since.isoformat(), "to": until.isoformat(), "source": list(sources)}
        return OutcomesTable.model_validate_json(get_bytes(settings, "/v1/fairness/impact-ratios", **parameters))
    with _opened(settings) as (bus, warehouse):
        _store(bus, warehouse)
        with closing(Texts.of(settings)) as texts:
            return outcomes_table(warehouse, texts, since, until, sources)


@contextmanager
def caught_up_warehouse(settings: Settings) -> Iterator[Warehouse]:
    """The warehouse with everything that is on the log; only where no hub runs, which holds its lock."""
    with _opened(settings) as (bus, warehouse), closing(Texts.of(settings)) as texts:
        _catch_up(settings, bus, warehouse, texts)
        yield warehouse


def _bus(settings: Settings) -> Bus:
    settings.common.home.mkdir(parents=True, exist_ok=True)
    return bus_of(settings)


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Bus, Warehouse]]:
    with closing(_bus(settings)) as bus, Warehouse.open(settings.common.home / "warehouse.duckdb") as warehouse:
        yield bus, warehouse


def _catch_up(settings: Settings, bus: Bus, warehouse: Warehouse, texts: Texts) -> None:
    """Do the work of hub and processor, since neither runs: embed pairs, then store and number."""
    if lag(bus, "embed", [PAIRS]):
        from trainers.features.embedder import Embedder
        from trainers.features.settings import FeatureSettings

        embedder = Embedder.load(settings.section("features", FeatureSettings))
        work = partial(embed_pairs, embedder=embedder, texts=texts)
        embed = HandlerStation(bus, "embed", consumer("embed").topics, work, batch=EMBED_BATCH)
        while lag(bus, "embed", [PAIRS]):
            embed.step(0.0)
    _store(bus, warehouse)


def _store(bus: Bus, warehouse: Warehouse) -> None:
    """Store what is on the log."""
    sink = Sink(bus, warehouse, "command-line")
    sink.start()
    while lag(bus, "sink", list(TOPICS.values())):
        sink.step(0.0)
