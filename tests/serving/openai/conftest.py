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


NO_FILTERS = {"conduct": "off", "insults": "off"}  # of replies, which pass a stream on sentence by sentence


@pytest.fixture
def through(start: Start, settings: Settings, upstream: StandIn) -> Iterator[Server]:
    """Serving in front of the upstream, which it asks once."""
    with start(settings.with_values(upstream=section_of(upstream))) as server:
        yield server


@pytest.fixture
def unfiltered(start: Start, settings: Settings, upstream: StandIn) -> Iterator[Server]:
    """The same without filters of replies."""
    with start(settings.with_values(upstream=section_of(upstream), safety=NO_FILTERS)) as server:
        yield server


def section_of(upstream: StandIn) -> dict[str, object]:
    return {"url": f"{upstream.url}/v1/", "key": KEY, "model": "great-1", "timeout": 1.0, "retries": 0}
