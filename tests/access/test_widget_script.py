"""``/widget.js``: small, served by the hub and by serving, and the one thing of theirs that pages of other sites may load."""

import gzip
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from access.widget.script import SCRIPT
from serving.app import create_app
from storage.settings import Settings
from tests.dashboard.small_world import running_hub

LOADED_BY_ANOTHER_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}


@pytest.fixture(scope="module", params=["hub", "serving"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("home")
    if request.param == "hub":
        with running_hub(home) as running:
            yield TestClient(running.hub.app, "http://127.0.0.1")
    else:
        settings = Settings.read(home, environ={}).with_values({"home": home}, upstream={"url": "http://127.0.0.1:9/v1", "model": "none"})
        yield TestClient(create_app(settings), "http://127.0.0.1")


def test_the_script_has_at_most_12_kb_compressed() -> None:
    assert len(gzip.compress(SCRIPT.read_bytes())) <= 12_000


def test_pages_of_other_sites_may_load_the_script(client: TestClient) -> None:
    answer = client.get("/widget.js", headers=LOADED_BY_ANOTHER_SITE | {"Accept-Encoding": "gzip"})
    assert (answer.status_code, answer.text) == (200, SCRIPT.read_text(encoding="utf-8"))
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert client.get("/widget.js", headers={"Accept-Encoding": "identity"}).content == SCRIPT.read_bytes()


def test_an_unchanged_script_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/widget.js").headers["ETag"]
    again = client.get("/widget.js", headers=LOADED_BY_ANOTHER_SITE | {"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert again.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert client.get("/widget.js", headers={"If-None-Match": 'W/"another"'}).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/openapi.json", {}),
        ("/metrics", {}),
        ("//widget.js", {}),
        ("/widget.js/", {}),
        ("/widget.js", {"Sec-Fetch-Mode": "cors"}),
        ("/widget.js", {"Sec-Fetch-Dest": "worker"}),
    ],
)
def test_pages_of_other_sites_may_load_nothing_else(client: TestClient, path: str, headers: dict[str, str]) -> None:
    answer = client.get(f"http://127.0.0.1{path}", headers=LOADED_BY_ANOTHER_SITE | headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")


@pytest.mark.parametrize("path", ["/openapi.json", "/healthz"])
def test_every_other_answer_stays_with_its_own_origin(client: TestClient, path: str) -> None:
    assert client.get(path).headers["Cross-Origin-Resource-Policy"] == "same-origin"
