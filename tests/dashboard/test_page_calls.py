"""Requests to the pages' callback endpoint and push channel: an invalid call is refused with a reason; only a bug of ours is a 500."""

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dashboard.pages import runs
from tests.dashboard.small_world import RunningHub

CALL = "/_dash-update-component"
GUARD = "streams.http.request_guard"
LISTED: dict[str, Any] = {
    "output": "runs.children",
    "outputs": {"id": "runs", "property": "children"},
    "inputs": [{"id": "live-runs", "property": "data", "value": []}],
    "changedPropIds": ["live-runs.data"],
}
DECIDED: dict[str, Any] = {
    "output": '{"decision":"answer","version":["ALL"]}.children',
    "outputs": [{"id": {"decision": "answer", "version": "v-1"}, "property": "children"}],
    "inputs": [
        [{"id": {"decision": name, "version": "v-1"}, "property": "n_clicks", "value": 1 if name == "approve" else 0}]
        for name in ("approve", "reject")
    ],
    "state": [{"id": "review-name", "property": "value", "value": "Noor"}, {"id": "review-reason", "property": "value", "value": "clear"}],
    "changedPropIds": ['{"decision":"approve","version":"v-1"}.n_clicks'],
}


@pytest.fixture(scope="module")
def client(hub: RunningHub) -> TestClient:
    return TestClient(hub.hub.app, "http://127.0.0.1", raise_server_exceptions=False)


def changed(call: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    call = copy.deepcopy(call)
    at: Any = call
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return call


def test_valid_calls_are_answered(client: TestClient) -> None:
    assert "No run yet" in client.post(CALL, json=LISTED).text
    assert "there is no version" in client.post(CALL, json=DECIDED).text


WRONG = [
    *[changed(LISTED, (key,), None) for key in ("output", "outputs", "inputs")],
    changed(LISTED, ("output",), "nothing.children"),
    changed(LISTED, ("output",), "..live-line.className...live-word.children.."),
    changed(LISTED, ("output",), ["runs.children"]),
    changed(LISTED, ("outputs",), [{"id": "runs", "property": "children"}]),
    changed(LISTED, ("outputs", "id"), "address"),
    changed(LISTED, ("outputs",), "runs"),
    changed(LISTED, ("inputs",), {"id": 1}),
    changed(LISTED, ("inputs",), [LISTED["inputs"][0]] * 2),
    changed(LISTED, ("inputs", 0, "id"), "address"),
    changed(LISTED, ("inputs", 0), ["x"]),
    changed(LISTED, ("inputs", 0, "value"), "word"),
    changed(LISTED, ("inputs", 0, "value"), [{"run_id": 7}]),
    changed(LISTED, ("inputs", 0, "value"), [7]),
    changed(LISTED, ("state",), [{"id": "runs", "property": "children"}]),
    changed(LISTED, ("changedPropIds",), 7),
    changed(LISTED, ("changedPropIds",), [[]]),
    changed(DECIDED, ("inputs", 0, 0, "id"), {"decision": "approve"}),
    changed(DECIDED, ("inputs", 0, 0, "id", "decision"), "other"),
    changed(DECIDED, ("inputs", 0), {"id": "x", "property": "n_clicks"}),
    changed(DECIDED, ("state", 0, "value"), {"no": "text"}),
    changed(DECIDED, ("inputs", 0, 0, "value"), "often"),
]


@pytest.mark.parametrize("call", WRONG, ids=range(len(WRONG)))
def test_an_invalid_call_is_refused_in_the_common_error_shape_and_logged_once(
    client: TestClient, caplog: pytest.LogCaptureFixture, call: dict[str, Any]
) -> None:
    caplog.set_level(logging.INFO, GUARD)
    answer = client.post(CALL, json=call)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("INFO", None)]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_not_a_json_object_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post(CALL, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")


def test_a_bug_in_a_callback_is_logged_once_with_its_traceback_and_not_shown_to_the_page(
    client: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "empty", lambda *_: 1 / 0)
    answer = client.post(CALL, json=LISTED)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert "division" not in answer.text
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("path", ["/_dash-component-suites/os/x.js", "/_dash-component-suites/dash/%2e%2e/x.js", "/assets/nothing.js"])
def test_a_file_that_is_not_there_is_a_404(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        '{"type": 7}',
        '{"type": "callback_request"}',
        '{"type": "callback_request", "payload": {"output": "nothing.children"}}',
        json.dumps({"type": "callback_request", "requestId": "1", "rendererId": "1", "payload": LISTED}),
    ],
)
def test_an_invalid_message_closes_the_push_channel_and_is_logged_once(
    client: TestClient, caplog: pytest.LogCaptureFixture, message: str
) -> None:
    caplog.set_level(logging.INFO, GUARD)
    with client.websocket_connect("/_dash-ws-callback", headers={"Origin": "http://127.0.0.1", "Host": "127.0.0.1"}) as line:
        line.send_text(message)
        with pytest.raises(WebSocketDisconnect) as closed:
            line.receive_text()
    assert closed.value.code == 1008
    assert [record.exc_info for record in caplog.records] == [None]


def test_openapi_documents_the_error_responses(client: TestClient) -> None:
    documented = client.get("/openapi.json").json()
    for path, operations in documented["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
            assert operation["responses"]["4XX"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert set(documented["components"]["schemas"]["ErrorDetail"]["properties"]) == {"message", "type", "param", "code", "reasons"}


def test_a_reviewer_name_with_invisible_characters_is_refused(hub: RunningHub) -> None:
    for name in ("Noor\u202e", "No\u200bor", "Noor\x07", "\u2066Noor"):
        answer = hub.client.post("/v1/rollback", json={"reviewer": name, "reason": "because"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "reviewer")
        assert "invisible" in answer.json()["error"]["message"]


def test_errors_about_the_servers_own_files_do_not_reveal_paths(hub: RunningHub) -> None:
    policy = "c" * 64
    version = hub.world.evaluate(hub.world.request(9), policy)
    hub.wait_for(lambda status: version in status["awaiting_review"])
    report = hub.hub.readings.take(1).versions.versions[0].report
    folder = hub.world.settings.common.artifacts_url
    for kept in Path(folder).rglob(f"*{report[:12]}*"):
        kept.unlink()
    answer = hub.client.get(f"/v1/versions/{version}/report")
    assert answer.status_code == 404
    assert str(Path(folder).parent) not in answer.text
