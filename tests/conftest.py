"""What tests of several rooms share: a small encoder, and a broker. Without Java or Maven its tests say so, and fail under ``CI=true``."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hypothesis
import pytest
from kafka import KafkaAdminClient

from deploy import broker as brokers
from deploy.broker import Broker
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.kafka_topics import create_topics
from streams.bus.topics import TEXT_KEYS, TOPICS
from tests.generation_thread import GenerationThread
from tests.profiles import NIGHTLY, examples
from tests.tiny_encoder import write_tiny_encoder

# The same examples each time, but for the nights; and no test fails because a machine is slow.
hypothesis.settings.register_profile("ours", deadline=None, derandomize=not NIGHTLY, max_examples=examples(100))
hypothesis.settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inputs", type=int, default=150, help="how many inputs the fuzz test sends to each topic; 100000 take half an hour")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``-m "not java"`` leaves out what needs a broker: it is seen by the fixtures that a test asks for, and by its parameter.

    Files with slow tests come first, so that one of them isn't left over at the end, with one of two test processes idle.
    """
    slow: set[Path] = set()
    for item in items:
        if {"broker", "empty_kafka", "narrow_kafka"} & set(getattr(item, "fixturenames", ())) or "[kafka" in item.name:
            item.add_marker(pytest.mark.java)
        if any(item.get_closest_marker(name) for name in ("browser", "java", "processes", "training")):
            slow.add(item.path)
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's cache folder is a temporary one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def generation_in_a_thread() -> Iterator[None]:
    """Serving apps of this process generate in a thread of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.models.generation_process.start_child", GenerationThread)
        yield


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The section ``[features]`` of a sentence encoder that is small and knows nothing."""
    return write_tiny_encoder(tmp_path_factory.mktemp("tiny-encoder"))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker without topics."""
    lacking = brokers.missing()
    if lacking is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"Kafka cannot be tested: {lacking}")
        pytest.skip(f"Kafka is not tested here: {lacking}")
    with Broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def empty_kafka(broker: Broker) -> str:
    """The broker's URL, with every topic of the table new and empty, and no marks."""
    _clear(broker)
    create_topics(broker.servers, KafkaSettings())
    return broker.url


@pytest.fixture
def narrow_kafka(broker: Broker) -> str:
    """The same with one partition a topic: what the bus contract speaks of."""
    _clear(broker)
    with closing(KafkaAdminClient(bootstrap_servers=[broker.servers])) as admin:
        admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1} for name in TOPICS}, wait_for_metadata=True)
    return broker.url


def _clear(broker: Broker) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=[broker.servers])) as admin:
        ours = {*TOPICS, TEXT_KEYS.name}
        if there := [name for name in admin.list_topics() if name in ours]:
            admin.delete_topics(there)
        if groups := [found["group_id"] for found in admin.list_groups()]:
            admin.delete_groups(groups)
        deadline = time.monotonic() + 20
        while any(name in ours for name in admin.list_topics()):
            assert time.monotonic() < deadline, "the topics do not go away"
            time.sleep(0.05)
