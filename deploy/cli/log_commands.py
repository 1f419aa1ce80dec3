"""Commands on the log itself: topics, quarantine, replay, schemas. None of them needs the hub or the warehouse's lock."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from storage.errors import ConfigurationError, InputRefused
from storage.events import EVENTS, EventQuarantined, newest_version
from storage.events.wire import WRITTEN
from storage.places import shown
from storage.settings import Settings
from streams.bus.kafka_settings import KafkaSettings, is_kafka, servers_of
from streams.bus.open import bus_of
from streams.bus.protocol import Bus, Logged, Partition, Record
from streams.bus.scan import to_end
from streams.bus.topics import QUARANTINE

topics = typer.Typer(help="The topics on Kafka.", no_args_is_help=True)
quarantine = typer.Typer(help="Events that could not be read or handled: inspect and retry them.", no_args_is_help=True)
TIMEOUT = 30.0  # seconds to publish
SHOWN = 256 * 1024  # bytes


@topics.command()
def create() -> None:
    """Create the topics on the configured Kafka cluster. Idempotent."""
    from streams.bus.kafka_topics import create_topics

    settings = Settings.read()
    url = settings.common.bus_url
    if not is_kafka(url):
        raise ConfigurationError(f"bus = {shown(url)!r} is not a Kafka URL: set bus to kafka://host:port; SQLite needs no topics")
    for name, done in create_topics(servers_of(url), settings.section("kafka", KafkaSettings)).items():
        typer.echo(f"{name:<26} {done}")


@quarantine.command(name="list")
def list_() -> None:
    """List the quarantined events, oldest first."""
    with closing(bus_of(Settings.read())) as bus:
        for one in quarantined_on(bus):
            where = f"{one.topic}/{one.partition}@{one.offset}"
            typer.echo(f"{one.event_id}  {one.occurred_at:%Y-%m-%d %H:%M:%S}  {where}  {one.reader}: {one.reason[:120]}")


@quarantine.command()
def show(event_id: str) -> None:
    """Show one quarantined event, with the first 256 kB that stand at its position on the log."""
    with closing(bus_of(Settings.read())) as bus:
        one = _find(bus, event_id)
        entry = _entry(bus, one)
    typer.echo(json.dumps(one.model_dump(mode="json"), indent=2))
    typer.echo(entry.value[:SHOWN].decode("utf-8", "backslashreplace"))


@quarantine.command()
def retry(event_id: str) -> None:
    """Publish an event's bytes again at the end of their topic, for readers fixed since then. Readers that handled it skip the repeat."""
    with closing(bus_of(Settings.read())) as bus:
        entry = _entry(bus, _find(bus, event_id))
        (position,) = bus.publish([Record(entry.partition.topic, entry.key, entry.value)], timeout=TIMEOUT)
    typer.echo(f"published again as {position.partition.topic}/{position.partition.number}@{position.offset}")


def replay(into: Annotated[Path, typer.Option(help="The file to write; it must not exist.")]) -> None:
    """Rebuild the warehouse from the log into a new file, while the hub runs; print each table's row count and content hash."""
    from streams.replay import replay as fill

    def progress(done: int, total: int) -> None:
        if done == total or done // 50_000 != (done - 1_000) // 50_000:
            typer.echo(f"{done:,} of {total:,} entries")

    with closing(bus_of(Settings.read())) as bus:
        for table, content in fill(bus, into, progress).items():
            typer.echo(f"{table:<22} {content.rows:>9,}  {content.sha256}")


def schemas(out: Annotated[Path, typer.Option(help="The folder to write them to.")] = Path("schemas")) -> None:
    """Write the JSON Schema of every event, for producers and consumers in other languages."""
    out.mkdir(parents=True, exist_ok=True)
    for name, model in EVENTS.items():
        file = out / f"{name}.v{newest_version(model)}.json"
        schema = model.model_json_schema()
        for part in (schema, *schema.get("$defs", {}).values()):
            if "event_id" in part.get("properties", ()):  # required of every producer: id, time and version
                part["required"] = sorted({*part["required"], *WRITTEN})
        file.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    typer.echo(f"{len(EVENTS)} schemas in {out}")


def quarantined_on(bus: Bus) -> Iterator[EventQuarantined]:
    """The events on ``feedback.quarantine``."""
    return (event for event in to_end(bus, [QUARANTINE], "command-line") if isinstance(event, EventQuarantined))


def _find(bus: Bus, event_id: str) -> EventQuarantined:
    try:
        wanted = UUID(event_id)
    except ValueError as error:
        raise InputRefused(f"{event_id!r} is not an id; 'feedbackloop quarantine list' shows them") from error
    for one in quarantined_on(bus):
        if one.event_id == wanted:
            return one
    raise InputRefused(f"nothing with the id {event_id} is in quarantine; 'feedbackloop quarantine list' shows what is")


def _entry(bus: Bus, one: EventQuarantined) -> Logged:
    """The entry that was quarantined."""
    (entry,) = bus.read({Partition(one.topic, one.partition): one.offset - 1}, limit=1, wait=0)
    return entry
