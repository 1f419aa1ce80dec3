"""Create the topics on Kafka: those of the table, with unlimited retention, and the compacted one of the keys of sealed texts."""

from datetime import timedelta
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from storage.errors import ConfigurationError, NotReachable
from streams.bus.kafka import MAX_MESSAGE_BYTES
from streams.bus.kafka_client import connect
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.text_keys import COMPACTION_LAG, SEGMENT, TOMBSTONES_KEPT
from streams.bus.topics import TEXT_KEYS, TOPICS, Topic

BOOTSTRAP_TIMEOUT = 8_000  # milliseconds to reach the first broker
TOPIC_CONFIG = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
MILLISECOND = timedelta(milliseconds=1)
KEYS_CONFIG = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "cleanup.policy": "compact",
    "segment.ms": str(SEGMENT // MILLISECOND),
    "max.compaction.lag.ms": str(COMPACTION_LAG // MILLISECOND),
    "delete.retention.ms": str(TOMBSTONES_KEPT // MILLISECOND),
    "message.timestamp.type": "LogAppendTime",  # the lag counts from timestamps, and clients' clocks may be wrong
}


def create_topics(servers: str, settings: KafkaSettings) -> dict[str, str]:
    """Create or update every topic and return what was done to each ("created", "8 → 12 partitions", "unchanged", …).

    Idempotent. Partitions are only ever added; Kafka cannot remove them.

    Raises
    ------
    NotReachable
        No broker answers.
    ConfigurationError
        A topic has more partitions than the table says, or the broker refuses.
    """
    try:
        admin = connect(KafkaAdminClient, **settings.options(servers), request_timeout_ms=10_000, bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT)
    except KafkaError as error:
        advice = "see username and password in [kafka]" if settings.username else "start the broker ('make kafka' starts a local one)"
        if (complaint := settings.tls_complaint(servers)) is not None:
            raise NotReachable(f"kafka://{servers} cannot be trusted: {complaint}; see cafile in [kafka]") from error
        raise NotReachable(f"kafka://{servers} does not answer: {error}; {advice}") from error
    try:
        return _create(admin, settings)
    except KafkaError as error:
        raise ConfigurationError(f"kafka://{servers}: {error}") from error
    finally:
        admin.close()


def _create(admin: Any, settings: KafkaSettings) -> dict[str, str]:
    topics = {**TOPICS, TEXT_KEYS.name: TEXT_KEYS}
    existing = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics() if topic["name"] in topics}
    for name, count in existing.items():
        if count > topics[name].partitions:
            raise ConfigurationError(
                f"{name} has {count} partitions and the table says {topics[name].partitions}: a topic cannot shrink;"
                " raise the number in streams/bus/topics.py, or use another cluster"
            )
    done: dict[str, str] = {}
    missing = {name: topic for name, topic in topics.items() if name not in existing}
    if missing:
        admin.create_topics(
            {
                name: {
                    "num_partitions": topic.partitions,
                    "replication_factor": settings.replication,
                    "configs": _config_of(topic, settings),
                }
                for name, topic in missing.items()
            },
            wait_for_metadata=True,
        )
        done |= dict.fromkeys(missing, "created")
    too_few = {name: topics[name].partitions for name, count in existing.items() if count < topics[name].partitions}
    if too_few:
        admin.create_partitions(too_few)
        done |= {name: f"{existing[name]} → {count} partitions" for name, count in too_few.items()}
    for name, current in _configs(admin, list(existing)).items():
        wrong = {key: value for key, value in _config_of(topics[name], settings).items() if current.get(key) != value}
        if wrong:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wrong)])
            done[name] = ", ".join(filter(None, [done.get(name), *(f"{key} = {value}" for key, value in wrong.items())]))
    return {name: done.get(name, "unchanged") for name in topics}


def _config_of(topic: Topic, settings: KafkaSettings) -> dict[str, str]:
    return (KEYS_CONFIG if topic == TEXT_KEYS else TOPIC_CONFIG) | {"min.insync.replicas": str(settings.min_insync)}


def _configs(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names], config_filter="all")
    by_name = next(iter(described.values()))
    return {name: {key: str(config["value"]) for key, config in keys.items()} for name, keys in by_name.items()}
