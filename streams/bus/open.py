"""Open the bus that the setting ``bus`` names, and what goes with it: the outbox, and the keys of sealed texts."""

from storage.errors import ConfigurationError
from storage.places import shown
from storage.settings import Settings
from storage.texts.keys import SQLiteTextKeys, TextKeys, text_keys
from streams.bus.kafka_settings import KafkaSettings, is_kafka, servers_of
from streams.bus.outbox import Outbox
from streams.bus.protocol import Bus, Outlet
from streams.bus.sqlite import SQLiteBus
from streams.pseudonyms import pseudonym_key


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


def keys_of(settings: Settings, bus: Bus) -> TextKeys:
    """The keys of sealed texts, for a process that goes on and opens texts."""
    if not is_kafka(settings.common.bus_url):
        return text_keys(settings)
    from streams.bus.text_keys import TopicTextKeys

    return TopicTextKeys(bus, pseudonym_key(settings.common)).follow()


def outlet_and_keys(settings: Settings, bus: Bus, process: str, *, opens: bool = True) -> tuple[Outlet, TextKeys]:
    """Where ``process`` publishes requests of clients, and the keys under which it seals them; close them in this order.

    On SQLite the outlet is the bus itself. On Kafka it is an outbox of this process, which sends new keys first. ``opens`` is whether the
    process opens texts too.
    """
    if not is_kafka(settings.common.bus_url):
        return bus, text_keys(settings)
    from streams.bus.text_keys import TopicTextKeys

    home = settings.common.home
    keys = TopicTextKeys(bus, pseudonym_key(settings.common), SQLiteTextKeys(home / f"text-keys-{process}.sqlite"), opens=opens)
    most = settings.section("kafka", KafkaSettings).outbox_mb * 2**20
    return Outbox(home / f"outbox-{process}.sqlite", bus, most=most, send_first=keys.flush), keys.follow()
