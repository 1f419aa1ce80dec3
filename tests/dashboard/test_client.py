"""``feedbackloop.Client`` against a running hub."""

import pytest

from feedbackloop import APIError, Client
from tests.dashboard.small_world import RunningHub


def test_it_reads_what_the_hub_knows(hub: RunningHub) -> None:
    with Client(hub=hub.url) as client:
        assert client.status()["counts"] == hub.get("/v1/status")["counts"]
        assert client.runs() == hub.get("/v1/runs")["runs"]
        assert client.versions()["champion"] == hub.get("/v1/versions")["champion"]
        assert len(list(client.export())) == len(hub.client.get("/v1/export").text.splitlines())


def test_a_hub_that_is_not_there_is_said_so() -> None:
    with Client(hub="http://127.0.0.1:9", timeout=2) as client, pytest.raises(APIError, match="does not answer"):
        client.status()
