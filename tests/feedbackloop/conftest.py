"""Serving as a process, before an upstream that answers at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.stand_in import app
from tests.feedbackloop.serving_process import ServingProcess
from tests.serving.conftest import run_app


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """Shared, and running at the beginning of each test that asks for it by ``running``."""
    with run_app(app()) as upstream:
        process = ServingProcess(tmp_path_factory.mktemp("serving") / "home", upstream)
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def running(serving: ServingProcess) -> ServingProcess:
    serving.start()
    return serving


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "feedback.spool"
