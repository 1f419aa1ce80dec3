"""Open mode: everybody on this machine may do everything, and nobody else, so a proxy that lets others through is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from access.control import AccessControl
from access.guard import AccessGuard
from access.settings import AccessSettings
from dashboard.hub import Hub
from serving.app import create_app
from storage.errors import ConfigurationError
from storage.settings import Settings


def app_with(access: AccessSettings) -> TestClient:
    app = FastAPI()

    @app.get("/")
    def hello() -> str:
        return "hello"

    app.add_middleware(AccessGuard, access=AccessControl(access))
    return TestClient(app, "http://127.0.0.1")


@pytest.fixture
def client() -> Iterator[TestClient]:
    with app_with(AccessSettings()) as client:
        yield client


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Via"])
def test_a_request_that_came_through_a_proxy_is_refused(client: TestClient, header: str) -> None:
    answer = client.get("/", headers={header: "203.0.113.7"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "proxy_not_allowed")
    assert header.lower() in answer.json()["error"]["message"]
    assert "proxy_authenticates" in answer.json()["error"]["message"]
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/", headers={header: "203.0.113.7"}):
        pass
    assert closed.value.code == 1008


def test_a_proxy_that_authenticates_may_ask(client: TestClient) -> None:
    assert client.get("/").json() == "hello"
    assert app_with(AccessSettings(proxy_authenticates=True)).get("/", headers={"X-Forwarded-For": "203.0.113.7"}).json() == "hello"


@pytest.mark.parametrize(
    ("common", "sections", "named"),
    [({"allowed_hosts": ("loop.example",)}, {}, "allowed_hosts"), ({}, {"hub": {"path_prefix": "/loop"}}, "path_prefix")],
)
def test_settings_for_a_proxy_need_one_that_authenticates(
    tmp_path: Path, common: dict[str, Any], sections: dict[str, Any], named: str
) -> None:
    settings = Settings.read(tmp_path, environ={}).with_values({"home": tmp_path / "home", **common}, **sections)
    with pytest.raises(ConfigurationError, match=rf"{named} is set.*proxy_authenticates = true"):
        Hub(settings)
    if common:
        with pytest.raises(ConfigurationError, match=named):
            create_app(settings)
    AccessSettings.of(settings.with_values(access={"proxy_authenticates": True}), "/loop")
