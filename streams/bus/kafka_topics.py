"""Create on Kafka what the table of topics says: partitions, kept for ever, and how many replicas have to be in sync."""

from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from storage.errors import ConfigurationError, NotReachable
from streams.bus.kafka import LARGEST
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.topics import TOPICS

PATIENCE = 8_000  # milliseconds to find the broker
FOREVER = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete", "max.message.bytes": str(LARGEST)}


def create_topics(servers: str, settings: KafkaSettings) -> dict[str, str]:
    """Make every topic of the table what it should be; what was done to each ("created", "8 → 12 partitions", "unchanged", …).

    Doing it again changes nothing. Partitions are only ever added: fewer would move keys away from their past.

    Raises
    ------
    NotReachable
        No broker answers.
    ConfigurationError
        A topic has more partitions than the table says, or the broker refuses.
    """
    try:
        admin = KafkaAdminClient(**settings.options(servers), request_timeout_ms=10_000, bootstrap_timeout_ms=PATIENCE)
    except KafkaError as error:
        mend = "see username and password in [kafka]" if settings.username else "start the broker ('make kafka' for one here)"
        if (complaint := settings.tls_complaint(servers)) is not None:
            raise NotReachable(f"kafka://{servers} cannot be trusted: {complaint}; see cafile in [kafka]") from error
        raise NotReachable(f"kafka://{servers} does not answer: {error}; {mend}") from error
    try:
        return _create(admin, settings)
    except KafkaError as error:
        raise ConfigurationError(f"kafka://{servers}: {error}") from error
    finally:
        admin.close()


def _create(admin: Any, settings: KafkaSettings) -> dict[str, str]:
    configs = FOREVER | {"min.insync.replicas": str(settings.min_insync)}
    there = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics() if topic["name"] in TOPICS}
    for name, count in there.items():
        if count > TOPICS[name].partitions:
            raise ConfigurationError(
                f"{name} has {count} partitions and the table says {TOPICS[name].partitions}: a topic cannot shrink;"
                " raise the number in streams/bus/topics.py, or name another cluster"
            )
    done: dict[str, str] = {}
    missing = {name: topic for name, topic in TOPICS.items() if name not in there}
    if missing:
        admin.create_topics(
            {
                name: {"num_partitions": topic.partitions, "replication_factor": settings.replication, "configs": configs}
                for name, topic in missing.items()
            },
            wait_for_metadata=True,
        )
        done |= dict.fromkeys(missing, "created")
    fewer = {name: TOPICS[name].partitions for name, count in there.items() if count < TOPICS[name].partitions}
    if fewer:
        admin.create_partitions(fewer)
        done |= {name: f"{there[name]} → {count} partitions" for name, count in fewer.items()}
    for name, held in _configs(admin, list(there)).items():
        wrong = {key: value for key, value in configs.items() if held.get(key) != value}
        if wrong:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wrong)])
            done[name] = ", ".join(filter(None, [done.get(name), *(f"{key} = {value}" for key, value in wrong.items())]))
    return {name: done.get(name, "unchanged") for name in TOPICS}


def _configs(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names], config_filter="all")
    by_name = next(iter(found.values()))
    return {name: {key: str(held["value"]) for key, held in keys.items()} for name, keys in by_name.items()}
