"""Each route, page and callback states the permission that it needs, and refuses callers without it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from access.caller import Caller, Needs
from access.guard import PUBLIC
from access.permissions import Permission
from dashboard.page_calls import PageCalls
from serving.app import create_app
from storage.settings import Settings
from tests.dashboard.small_world import RunningHub, running_hub
from tests.dashboard.test_page_calls import CALL, DECIDED, LISTED

# Routes of FastAPI and Dash, and the one for paths that no other has: for whoever may ask for anything at all.
LIBRARIES = re.compile(r"/|/openapi\.json|/_dash.*|/_reload-hash|/assets.*|/_favicon\.ico|/?\{path:path\}|/v1/\{rest:path\}")
# Outputs of the frame around all pages.
FRAME = re.compile(r"(\.\.)?(page|live|nav|simulated|sign-out)[.-].*|[0-9a-f]{64}")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    home = tmp_path_factory.mktemp("home")
    return create_app(
        Settings.read(home, environ={}).with_values({"home": home}, upstream={"url": "http://127.0.0.1:9/v1", "model": "none"})
    )


def client(app: FastAPI) -> TestClient:
    return TestClient(app, "http://127.0.0.1", raise_server_exceptions=False)


def silent(app: FastAPI) -> list[str]:
    """The paths of our own routes that state no permission."""
    found = []
    for route in iter_route_contexts(app.routes):
        path = route.path or ""
        stated = any(isinstance(each.dependency, Needs) for each in getattr(route, "dependencies", ()))
        if path not in PUBLIC and not stated and not LIBRARIES.fullmatch(path):
            found.append(path)
    return found


def test_every_route_states_the_permission_that_it_needs(hub: RunningHub, serving: FastAPI) -> None:
    assert silent(serving) == []
    assert silent(hub.hub.app) == []


def test_a_route_without_a_permission_is_found() -> None:
    app, router = FastAPI(docs_url=None, redoc_url=None), APIRouter(prefix="/v1")

    @router.get("/forgotten")
    def forgotten() -> None: ...

    app.include_router(router)
    assert silent(app) == ["/v1/forgotten"]


def test_every_callback_of_the_pages_has_a_permission(hub: RunningHub) -> None:
    middleware: list[Any] = list(hub.hub.app.user_middleware)
    [calls] = [each for each in middleware if each.cls is PageCalls]
    needed, pages = calls.kwargs["needed"], calls.kwargs["pages"]()
    assert needed.keys() == pages.callback_map.keys()
    assert [output for output, permission in needed.items() if permission is None and not FRAME.fullmatch(output)] == []


def callers_with(monkeypatch: pytest.MonkeyPatch, *permissions: Permission) -> None:
    monkeypatch.setattr("access.guard.OPEN", Caller("open", "somebody", frozenset(permissions)))


WITHOUT: list[tuple[str, str, str]] = [
    ("GET", "/v1/status", "read"),
    ("GET", "/v1/export", "export"),
    ("GET", "/metrics", "read"),
    ("GET", "/v1/queue?recruiter=ada", "feedback"),
    ("POST", "/v1/judgments", "feedback"),
    ("POST", "/v1/versions/v-1/review", "review"),
    ("POST", "/v1/rollback", "review or admin"),
    ("POST", "/v1/freeze", "review"),
    ("POST", "/v1/chat", "feedback"),
]


@pytest.mark.parametrize(("method", "path", "permission"), WITHOUT)
def test_the_hub_refuses_a_caller_without_the_permission(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch, method: str, path: str, permission: str
) -> None:
    callers_with(monkeypatch)
    answer = client(hub.hub.app).request(method, path, json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")
    assert f"needs the permission {permission}, which somebody does not have" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/rerank", "/v1/feedback", "/v1/outcomes"])
def test_serving_refuses_a_caller_without_the_permission(serving: FastAPI, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    callers_with(monkeypatch, "read", "admin")
    answer = client(serving).post(path, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")


def test_a_page_and_its_callbacks_answer_only_who_may_see_it(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = client(hub.hub.app)
    shown = {
        "output": "page.children",
        "outputs": {"id": "page", "property": "children"},
        "inputs": [{"id": "address", "property": "pathname", "value": "/runs"}],
        "changedPropIds": ["address.pathname"],
    }
    callers_with(monkeypatch, "feedback")
    assert "You may not see this page" in pages.post(CALL, json=shown).text
    refused = pages.post(CALL, json=LISTED)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed")
    with pages.websocket_connect("/_dash-ws-callback", headers={"Origin": "http://127.0.0.1", "Host": "127.0.0.1"}) as socket:
        socket.send_json({"type": "callback_request", "rendererId": "r", "requestId": "1", "payload": LISTED})
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 1008
    callers_with(monkeypatch, "read")
    assert "You may not see this page" not in pages.post(CALL, json=shown).text
    assert pages.post(CALL, json=LISTED).status_code == 200


def test_who_may_see_the_promotions_may_not_decide_about_them(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    callers_with(monkeypatch, "read")
    answer = client(hub.hub.app).post(CALL, json=DECIDED)
    assert "needs the permission review" in answer.text
