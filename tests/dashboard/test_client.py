"""``feedbackloop.Client`` against a running hub."""

import pytest

from feedbackloop import APIError, Client
from tests.dashboard.small_world import RunningHub


def test_the_client_reads_status_runs_versions_and_export(hub: RunningHub) -> None:
    with Client(hub=hub.url) as client:
        assert client.status()["counts"] == hub.get("/v1/status")["counts"]
        assert client.runs() == hub.get("/v1/runs")["runs"]
        assert client.versions()["champion"] == hub.get("/v1/versions")["champion"]
        assert len(list(client.export())) == len(hub.client.get("/v1/export").text.splitlines())


def test_an_unreachable_hub_raises_an_api_error() -> None:
    with Client(hub="http://127.0.0.1:9", timeout=2) as client, pytest.raises(APIError, match="does not answer"):
        client.status()
