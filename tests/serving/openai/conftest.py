"""Fixtures: a stand-in upstream, and servers in front of it that the tests of a module share."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from storage.events import Event
from storage.settings import Settings
from streams.bus.protocol import Partition
from tests.serving.conftest import Server, Start
from tests.serving.openai.stand_in import KEY, StandIn, running

ONCE = {"retries": 0, "breaker_failures": 10_000, "timeout": 1.0, "key": KEY}  # asked once, however often it has failed


@dataclass
class Fresh(Server):
    """A server of which only the events since the test began are seen."""

    begin: dict[Partition, int] = field(default_factory=dict)

    def events(self, *topics: str) -> list[Event]:
        after = {partition: self.begin.get(partition, 0) - 1 for partition in self.bus.bounds(topics)}
        return [self.opened(entry) for entry in self.bus.read(after, limit=100_000, wait=0)]


def fresh(server: Server) -> Fresh:
    return Fresh(server.url, server.bus, server.settings, server.sizes())


def settings_in(folder: Path) -> Settings:
    """Settings without a model, for an upstream that answers, and without safety filters, which send a stream by sentences."""
    off = dict.fromkeys(("conduct", "insults", "injection"), "off")
    return Settings.read(folder, environ={}).with_values({"home": folder / "home"}, safety=off)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[StandIn]:
    with running(StandIn()) as server:
        yield server


@pytest.fixture
def upstream(shared_upstream: StandIn) -> StandIn:
    """The upstream as if it had just been started."""
    shared_upstream.__dict__.update(StandIn(url=shared_upstream.url).__dict__)
    return shared_upstream


@pytest.fixture(scope="module")
def shared_through(start: Start, shared_upstream: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    section: dict[str, Any] = {"url": f"{shared_upstream.url}/v1/", "model": "great-1", **ONCE}
    settings = settings_in(tmp_path_factory.mktemp("through"))
    with start(settings.with_values(upstream=section, serving={"pairing_share": 0})) as server:
        yield server


@pytest.fixture
def through(shared_through: Server, upstream: StandIn) -> Server:
    """Serving in front of the upstream, without second responses."""
    return fresh(shared_through)


@pytest.fixture(scope="module")
def shared_claude(start: Start, shared_upstream: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    section: dict[str, Any] = {"kind": "anthropic", "url": f"{shared_upstream.url}/v1", "model": "claude-x", "max_tokens": 77, **ONCE}
    settings = settings_in(tmp_path_factory.mktemp("claude"))
    with start(settings.with_values(upstream=section, serving={"pairing_share": 0})) as server:
        yield server


@pytest.fixture
def claude(shared_claude: Server, upstream: StandIn) -> Server:
    """The same in front of Anthropic's protocol."""
    return fresh(shared_claude)
