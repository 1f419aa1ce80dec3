"""What pages of strangers can do to a hub and a chat API on the same machine, in a real browser: nothing.

The strangers' pages are served by a small server of the test; ``evil.example`` is mapped to this machine, as its owner's DNS would do.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import BrowserContext, sync_playwright

from serving.app import create_app
from storage.artifacts import Artifacts
from storage.settings import Settings
from streams.bus.open import open_bus
from streams.bus.protocol import Bus
from streams.bus.topics import TOPICS
from streams.health import listen
from streams.http.server import server_config
from tests.dashboard.in_browser import ARGUMENTS, CHROMIUM
from tests.dashboard.small_world import RunningHub, running_hub, wait_until
from tests.dashboard.strangers import ASK, LINK, OPEN_SOCKET, SUBMIT

pytestmark = pytest.mark.browser

PAIR = "0195f0a0-0000-7000-8000-000000000000"
JUDGMENT = {"pair_id": PAIR, "recruiter": "Mallory", "choice": "A"}
SIGNED = {"reviewer": "Mallory", "reason": "because"}
MESSAGES = [{"role": "user", "content": "hello"}]
SERVING_POSTS = {
    "/v1/feedback": {"type": "comparison"} | JUDGMENT,
    "/v1/pairs": {"prompt": MESSAGES, "responses": ["yes", "no"]},
    "/v1/chat/completions": {"model": "champion", "messages": MESSAGES},
}


@dataclass
class Products:
    """A hub and a chat API, and the log of each."""

    hub: RunningHub
    serving: str
    logs: tuple[Bus, Bus]
    asked: list[str]  # what reached the chat API, refused or not
    version: str  # awaits review

    @property
    def hub_posts(self) -> dict[str, dict[str, Any]]:
        """Requests that have an effect when they come from a page of the hub: there is a champion to roll back."""
        review = f"/v1/versions/{self.version}/review"
        return {"/v1/judgments": JUDGMENT, review: SIGNED | {"decision": "approve"}, "/v1/rollback": SIGNED, "/v1/freeze": {}}

    def sizes(self) -> list[dict[Any, int]]:
        return [{partition: end for partition, (_, end) in bus.bounds(list(TOPICS)).items()} for bus in self.logs]


@contextmanager
def running_serving(home: Path, asked: list[str]) -> Iterator[tuple[str, Bus]]:
    settings = Settings.read(home, environ={}).with_values({"home": home}, upstream={"url": "http://127.0.0.1:9/v1", "model": "none"})
    app = create_app(settings)

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            asked.append(f"{scope['method']} {scope['path']}")
        await app(scope, receive, send)

    address = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(noted))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address]}, daemon=True)
    thread.start()
    try:
        with closing(open_bus(settings.common.bus_url)) as bus:
            yield f"http://127.0.0.1:{address.getsockname()[1]}", bus
    finally:
        server.should_exit = True
        thread.join(10)
        address.close()


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Products]:
    asked: list[str] = []
    with running_hub(tmp_path_factory.mktemp("hub")) as hub, running_serving(tmp_path_factory.mktemp("serving"), asked) as (url, bus):
        hub.world.chat(2)
        hub.world.judge(1)
        champion = hub.world.evaluate(hub.world.request(2), "the champion")
        hub.wait_for(lambda status: champion in status["awaiting_review"])
        assert hub.client.post(f"/v1/versions/{champion}/review", json=SIGNED | {"decision": "approve"}).status_code == 202
        hub.wait_for(lambda status: status["champion"]["version"] == champion)
        version = hub.world.evaluate(hub.world.request(3, champion=champion), "what strangers approve", champion=champion)
        hub.wait_for(lambda status: version in status["awaiting_review"])
        hub.wait_for(lambda status: status["counts"]["preferences"] == 1 and sum(status["lag"].values()) == 0)
        yield Products(hub, url, (hub.world.bus, bus), asked, version)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    arguments = [
        *ARGUMENTS.split(),
        "--host-resolver-rules=MAP evil.example 127.0.0.1",
        "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",  # not every browser has them
    ]
    assert CHROMIUM, "CI has to have chromium: what strangers' pages can do goes untested without it"
    with sync_playwright() as playwright:
        profile = tmp_path_factory.mktemp("profile")
        context = playwright.chromium.launch_persistent_context(profile, executable_path=CHROMIUM, headless=True, args=arguments)
        context.set_default_timeout(20_000)
        yield context
        context.close()


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def test_a_name_that_its_owner_maps_to_this_machine_can_neither_read_nor_write_nor_listen(
    products: Products, browser: BrowserContext
) -> None:
    before = products.sizes()
    page = browser.new_page()
    for port, posts in ((port_of(products.hub.url), products.hub_posts), (port_of(products.serving), SERVING_POSTS)):
        own = f"http://evil.example:{port}"
        page.route(f"{own}/", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))  # before the name moved
        page.goto(f"{own}/")
        for path in ("/v1/export", "/v1/status", "/v1/models", "/metrics"):
            found = page.evaluate(ASK, ["GET", own + path, None, "cors", ""])
            assert (found["status"], "host_not_allowed" in found["text"]) == (403, True)
        for path, body in posts.items():
            assert page.evaluate(ASK, ["POST", own + path, json.dumps(body), "cors", "application/json"])["status"] == 403
        assert page.evaluate(OPEN_SOCKET, f"ws://evil.example:{port}/_dash-ws-callback") == "refused"
    assert products.sizes() == before


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_from_elsewhere_can_post_nothing_that_reaches_a_log(
    products: Products, browser: BrowserContext, strangers: int, host: str
) -> None:
    before = products.sizes()
    page = browser.new_page()
    page.goto(f"http://{host}:{strangers}/")
    for base, posts in ((products.hub.url, products.hub_posts), (products.serving, SERVING_POSTS)):
        for path, body in posts.items():
            for mode, kind in (("no-cors", "text/plain"), ("cors", "text/plain"), ("cors", "application/json")):
                found = page.evaluate(ASK, ["POST", base + path, json.dumps(body), mode, kind])
                assert found["text"] == "" or found["type"] == "error"
            page.evaluate(SUBMIT, [base + path, json.dumps(body)[:-1] + ',"x":"', '"}', "text/plain"])
            page.evaluate(SUBMIT, [base + path, "pair_id", PAIR, "application/x-www-form-urlencoded"])
        assert page.evaluate(ASK, ["GET", f"{base}/v1/export", None, "cors", ""])["type"] == "error"
    assert page.evaluate(OPEN_SOCKET, f"{products.hub.url.replace('http', 'ws')}/_dash-ws-callback") == "refused"
    wait_until(lambda: {f"POST {path}" for path in SERVING_POSTS} <= set(products.asked), bool)
    assert products.sizes() == before


def test_a_page_from_elsewhere_cannot_frame_ours_and_a_link_from_there_opens_them(
    products: Products, browser: BrowserContext, strangers: int
) -> None:
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{strangers}/")
    with page.expect_response(lambda answer: answer.url.startswith(products.hub.url)) as framed:
        page.evaluate("url => { document.querySelector('iframe').src = url }", products.hub.url + "/promotions")
    assert framed.value.status == 403
    page.evaluate(LINK, products.hub.url + "/promotions")
    page.click("#link")
    page.wait_for_selector("h1:has-text('Promotions')")


def test_our_own_pages_cannot_be_framed_by_each_other_either(products: Products, browser: BrowserContext) -> None:
    page = browser.new_page()
    page.goto(products.hub.url)
    refusals: list[str] = []
    page.on("console", lambda message: refusals.append(message.text))
    page.evaluate("() => { const frame = document.createElement('iframe'); frame.src = '/promotions'; document.body.append(frame) }")

    def said_so_far() -> list[str]:
        page.wait_for_timeout(20)
        return refusals

    wait_until(said_so_far, lambda said: any("frame" in each.lower() for each in said))


def test_what_a_candidate_wrote_runs_and_loads_nothing_in_the_data_docs_that_quote_it(
    products: Products, browser: BrowserContext, strangers: int, tmp_path: Path
) -> None:
    world = products.hub.world
    attack = "document.querySelector('h1').textContent = 'attacked'"
    loads = (
        f'<img src="http://127.0.0.1:{strangers}/" onerror="{attack}"><form action="/v1/freeze" method="post"><button>go</button></form>'
    )
    (tmp_path / "index.html").write_text(f"<html><body><h1>untouched</h1><script>{attack}</script>{loads}")
    request = world.request(1)
    world.fail(request, "too little", {"data_docs": Artifacts(world.settings.common.artifacts_url).put(tmp_path)})
    products.hub.wait_for(lambda _: any(run["artifacts"] for run in products.hub.get("/v1/runs")["runs"]))
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    address = f"{products.hub.url}/v1/runs/{request.run_id}/data-docs"
    page.goto(f"{address}/index.html")
    before = products.sizes()
    page.click("button")
    page.wait_for_timeout(200)
    assert page.locator("h1").inner_text() == "untouched"
    assert any("img-src" in each or "default-src" in each for each in said)
    assert products.sizes() == before
    assert products.hub.client.get(f"{address}/%2e%2e%2f%2e%2e%2f%2e%2e%2fhub.lock").status_code == 404
    assert products.hub.client.get(f"{address}/manifest.json").status_code == 404


def test_what_strangers_tried_has_an_effect_from_a_page_of_ours(products: Products, browser: BrowserContext) -> None:
    page = browser.new_page()
    page.goto(products.hub.url)
    for path, body in products.hub_posts.items():
        if path != "/v1/freeze":
            assert page.evaluate(ASK, ["POST", products.hub.url + path, json.dumps(body), "cors", "application/json"])["status"] == 202, (
                path
            )
    assert page.evaluate(OPEN_SOCKET, f"{products.hub.url.replace('http', 'ws')}/_dash-ws-callback") == "open"
