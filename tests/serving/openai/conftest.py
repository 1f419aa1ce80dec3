"""Fixtures: a stand-in upstream, and serving in front of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.settings import Settings
from tests.serving.conftest import Server, Start
from tests.serving.openai.stand_in import KEY, StandIn, running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings without a model: an upstream answers."""
    return Settings.read(tmp_path, environ={}).with_values({"home": tmp_path / "home"})


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    with running(StandIn()) as server:
        yield server


@pytest.fixture
def through(start: Start, settings: Settings, upstream: StandIn) -> Iterator[Server]:
    """Serving in front of the upstream, which it asks once."""
    section = {"url": f"{upstream.url}/v1/", "key": KEY, "model": "great-1", "timeout": 1.0, "retries": 0}
    with start(settings.with_values(upstream=section)) as server:
        yield server
