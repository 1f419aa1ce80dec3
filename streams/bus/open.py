"""Open the bus that the setting ``bus`` names."""

from storage.errors import ConfigurationError
from storage.places import shown
from storage.settings import Settings
from streams.bus.kafka_settings import KafkaSettings, is_kafka, servers_of
from streams.bus.outbox import Outbox
from streams.bus.protocol import Bus, Outlet
from streams.bus.sqlite import SQLiteBus


def open_bus(url: str, kafka: KafkaSettings | None = None) -> Bus:
    """The bus that ``url`` names: ``sqlite:///path`` or ``kafka://host:port,host:port``."""
    if url.startswith("sqlite:///"):
        return SQLiteBus(url.removeprefix("sqlite:///"))
    if is_kafka(url):
        from streams.bus.kafka import KafkaBus

        return KafkaBus(servers_of(url), kafka or KafkaSettings())
    raise ConfigurationError(f"bus = {shown(url)!r}: use sqlite:///path or kafka://host:port")


def bus_of(settings: Settings) -> Bus:
    """The bus that the settings name."""
    return open_bus(settings.common.bus_url, settings.section("kafka", KafkaSettings))


def outlet_of(settings: Settings, bus: Bus, process: str) -> Outlet:
    """Where ``process`` publishes requests of clients: its own outbox on Kafka, the bus itself on SQLite."""
    if not is_kafka(settings.common.bus_url):
        return bus
    most = settings.section("kafka", KafkaSettings).outbox_mb * 2**20
    return Outbox(settings.common.home / f"outbox-{process}.sqlite", bus, most=most)
