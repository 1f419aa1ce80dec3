"""One hub for the tests of the API, one for the browser: starting one takes longer than most tests."""

from collections.abc import Iterator

import pytest

from tests.dashboard.in_browser import browser, driver, errors, shoot
from tests.dashboard.small_world import RunningHub, running_hub
from tests.dashboard.strangers import strangers
from tests.serving.conftest import tiny_model

__all__ = ["browser", "driver", "errors", "hub", "shoot", "strangers", "tiny_model"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("home")) as running:
        yield running
