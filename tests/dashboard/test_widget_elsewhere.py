"""The elements in pages of another origin, in a real browser: what a product's page can do with a widget token, and nothing more.

A small server of the test is the product: it has an API key and its recruiters' tokens made. It answers as ``localhost``, and is another
site than the hub and serving, which answer as ``127.0.0.1``.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from access.changes import AccessChanges
from access.people.changes import PeopleChanges
from access.people.store import FILE, PeopleStore
from feedbackloop import APIError, Client
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.events import JudgmentGiven, ResponseRated
from storage.settings import Settings
from storage.texts.texts import Texts
from streams.bus.open import open_bus
from streams.bus.protocol import Partition
from streams.bus.topics import ACCESS, TOPICS
from streams.processor import start_consumers
from streams.pseudonyms import pseudonym, pseudonym_key
from streams.stations.runner import Runner
from tests.access.installation import PASSWORD
from tests.dashboard.small_world import RunningHub, running_hub, wait_until
from tests.serving.conftest import Server, run_serving
from trainers.features.embedder import Embedder
from trainers.features.settings import FeatureSettings

pytestmark = pytest.mark.browser

REPLY = "0195f0a0-0000-7000-8000-000000000000"
QUESTION = "When do I hear from you?"
ASK = """async ([method, url, token, body]) => {
  const headers = token ? {Authorization: "Bearer " + token} : {};
  if (body) headers["Content-Type"] = "application/json";
  try {
    return (await fetch(url, {method: method, headers: headers, body: body && JSON.stringify(body)})).status;
  } catch (problem) { return "unreadable"; }
}"""

WITHOUT_PREFLIGHT = """([url, body]) =>
  fetch(url, {method: "POST", mode: "no-cors", credentials: "include", body: JSON.stringify(body)}).then(() => null, () => null)"""


class ProductServer(ThreadingHTTPServer):
    """The product: a page with both elements, and an address that answers with a token of whoever has signed in to it."""

    hub = serving = ""
    client: Client
    recruiter = "Noor"
    answered: list[dict[str, Any]] | None = None  # instead of tokens, for one request each
    asked = 0

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.server_address[1]}"

    @property
    def page(self) -> str:
        return (
            f"<!doctype html><html lang=en><title>Product</title><script src='{self.hub}/widget.js'></script><h1>Product</h1>"
            f"<feedbackloop-rate token-src='/token'></feedbackloop-rate>"
            f"<feedbackloop-thumbs token-src='/token' server='{self.serving}' reply-id='{REPLY}'></feedbackloop-thumbs>"
        )

    def token(self) -> dict[str, Any]:
        self.asked += 1
        made = self.client.widget_token(self.recruiter, self.origin).model_dump()
        return made | (self.answered.pop(0) if self.answered else {})


class ProductPages(BaseHTTPRequestHandler):
    server: ProductServer

    def do_GET(self) -> None:
        if self.path == "/token":
            try:
                self.answer("application/json", json.dumps(self.server.token()))
            except APIError as error:
                self.send_error(error.status)
        else:
            self.answer("text/html", self.server.page)

    def answer(self, kind: str, text: str) -> None:
        hub, serving = self.server.hub, self.server.serving
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header(
            "Content-Security-Policy",
            f"default-src 'none'; script-src {hub}; connect-src 'self' {hub} {serving}; require-trusted-types-for 'script'",
        )
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_arguments: Any) -> None: ...


@dataclass
class World:
    """A hub, serving and a processor on one home, and the product."""

    hub: RunningHub
    serving: Server
    product: ProductServer
    people: PeopleChanges | None  # None in open mode

    def sizes(self) -> dict[Partition, int]:
        """The ends of the log, without the audit trail, in which refusals are."""
        return {
            partition: end for partition, (_, end) in self.hub.world.bus.bounds([each for each in TOPICS if each != ACCESS.name]).items()
        }

    def token(self) -> str:
        text: str = self.product.client.widget_token("Noor", self.product.origin).token
        return text

    @property
    def recruiter(self) -> str:
        return pseudonym(pseudonym_key(self.serving.settings.common), "recruiter", "Noor")


@pytest.fixture(scope="module", params=["open", "required"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("home")
    product = ProductServer(("127.0.0.1", 0), ProductPages)
    access = {"mode": request.param, "widget_origins": [product.origin]}
    settings = Settings.read(home, environ={}).with_values(
        {"home": home}, access=access, upstream={"url": "http://127.0.0.1:9/v1", "model": "none"}
    )
    stop = threading.Event()
    runner = Runner(stop)
    threading.Thread(target=product.serve_forever, daemon=True).start()
    with closing(open_bus(settings.common.bus_url)) as bus, running_hub(home, access=access) as hub, run_serving(settings) as serving:
        product.hub, product.serving = hub.url, serving.url
        key = people = None
        if request.param == "required":
            changes = AccessChanges(bus, Keys(home, AttestationSettings()))
            key, people = changes.issue("product", ["feedback", "read"])[1], PeopleChanges(changes, PeopleStore(home / FILE))
            people.add("ivo", "Ivo", PASSWORD, "r-ivo", ["auditor"])
            hub.client.headers["Authorization"] = f"Bearer {key}"
            for url in (hub.url, serving.url):
                wait_until(lambda url=url: hub.client.get(f"{url}/metrics").status_code == 200, bool)  # type: ignore[misc]
        product.client = Client(serving=serving.url, hub=hub.url, api_key=key)
        start_consumers(runner, bus, settings, Embedder.load(settings.section("features", FeatureSettings)), Texts.of(settings), stop)
        for number in range(12):
            product.client.add_pair(QUESTION, (f"By Monday, number {number}.", f"We will see, number {number}."))
        hub.wait_for(lambda status: status["waiting"]["to_rate"] == 12)
        yield World(hub, serving, product, people)
        stop.set()
        runner.join(30)
        product.client.close()
    product.shutdown()
    product.server_close()


@pytest.fixture
def page(world: World, browser: BrowserContext) -> Page:
    """The product's page."""
    world.product.answered, world.product.asked, world.product.recruiter = None, 0, "Noor"
    page = browser.new_page()
    page.goto(f"{world.product.origin}/")
    expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
    return page


def test_a_rating_in_a_page_of_a_product_moves_the_reward_model(world: World, page: Page, browser: BrowserContext) -> None:
    before = world.hub.get("/v1/status")["counts"]
    page.locator("feedbackloop-rate #first").click()
    page.keyboard.press("1")
    expect(page.locator("feedbackloop-rate #progress")).to_contain_text("1 judged")
    world.hub.wait_for(lambda status: status["counts"]["learnt"] == before["learnt"] + 1, 30)
    judgments = [event for event in world.serving.events("feedback.judgments") if isinstance(event, JudgmentGiven)]
    assert (judgments[-1].recruiter, judgments[-1].source) == (world.recruiter, "product")
    overview = browser.new_page()
    overview.goto(world.hub.url)
    if world.people is not None:
        overview.fill("#login", "ivo")
        overview.fill("#password", PASSWORD)
        overview.click("button")
    expect(overview.locator(".station-reward .station-figure")).to_have_text(str(before["learnt"] + 1))
    overview.close()


def test_a_thumb_in_a_page_of_a_product_is_recorded(world: World, page: Page) -> None:
    page.get_by_role("button", name="Good reply").click()
    expect(page.locator("feedbackloop-thumbs").get_by_role("status")).to_have_text("Thank you.")
    ratings = [event for event in world.serving.events("feedback.ratings") if isinstance(event, ResponseRated)]
    assert (ratings[-1].recruiter, ratings[-1].thumb, str(ratings[-1].reply_id)) == (world.recruiter, "up", REPLY)


def test_tokens_are_renewed_before_they_end_and_when_they_are_refused(world: World, page: Page, errors: list[str]) -> None:
    assert world.product.asked == 1
    world.product.answered = [{"expires_in": 0}, {"token": "fbw_ended"}]
    page.reload()
    expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
    assert world.product.asked == 2
    page.locator("feedbackloop-rate #first").click()
    with page.expect_response(lambda answer: answer.url.endswith("/v1/judgments") and answer.status == 202):
        page.keyboard.press("3")  # the token has ended, the next one is refused, and the third is good
    assert world.product.asked == 4
    expect(page.locator("feedbackloop-rate #notice")).to_be_hidden()
    errors.clear()  # the browser logs the refusal


def test_nothing_is_sent_in_the_name_of_who_signs_in_to_the_product_later(world: World, page: Page) -> None:
    world.product.answered = [{"expires_in": 0}]
    page.reload()
    expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
    before = world.sizes()
    world.product.recruiter = "Ben"
    page.locator("feedbackloop-rate #first").click()
    page.keyboard.press("1")
    expect(page.locator("feedbackloop-rate #notice")).to_contain_text("somebody else has signed in meanwhile; load the page again")
    assert world.sizes() == before


def test_a_request_that_is_replayed_with_its_token_counts_once(world: World) -> None:
    sent = {"Authorization": f"Bearer {world.token()}"}
    before = world.hub.get("/v1/status")["counts"]
    with httpx.Client(base_url=world.hub.url, headers=sent) as stranger:
        [pair] = stranger.get("/v1/queue", params={"limit": 1}).json()["pairs"]
        for _ in range(3):
            assert stranger.post("/v1/judgments", json={"pair_id": pair["pair_id"], "choice": "A"}).status_code == 202
    world.hub.wait_for(lambda status: status["counts"]["judgments"] == before["judgments"] + 3 and sum(status["lag"].values()) == 0, 30)
    after = world.hub.get("/v1/status")["counts"]
    assert after["preferences"] - after["removed"] == before["preferences"] - before["removed"] + 1


@pytest.mark.parametrize("world", ["required"], indirect=True)  # in open mode nobody is removed
def test_a_recruiter_removed_in_the_middle_of_a_queue_is_told_so_and_the_elements_stop(
    world: World, browser: BrowserContext, errors: list[str]
) -> None:
    product, people = world.product, world.people
    recruiter = pseudonym(pseudonym_key(world.serving.settings.common), "recruiter", "Lea")
    assert people is not None
    people.add("lea", "Lea", None, recruiter, ["recruiter"])
    product.recruiter, product.answered = "Lea", None
    page = browser.new_page()
    page.goto(f"{product.origin}/")
    rater, thumbs = page.locator("feedbackloop-rate"), page.locator("feedbackloop-thumbs")
    expect(rater.locator("#pair")).to_be_visible()
    rater.locator("#first").click()
    with page.expect_response(lambda answer: answer.url.endswith("/v1/judgments") and answer.status == 202):
        page.keyboard.press("1")
    expect(rater.locator("#pair")).to_be_visible()  # the next one

    def code_of_a_new_token() -> str | None:
        try:
            product.client.widget_token("Lea", product.origin)
        except APIError as error:
            return error.code
        return None

    page.route("**/v1/queue*/**", lambda route: route.abort())  # so that it is the judgment which is refused first
    page.route("**/v1/queue?*", lambda route: route.abort())
    people.remove("lea")
    wait_until(code_of_a_new_token, lambda code: code == "recruiter_removed")  # of serving
    wait_until(lambda: world.hub.hub.access.state, lambda state: state is not None and state.is_removed(recruiter))
    page.keyboard.press("1")
    expect(rater.locator("#empty-title")).to_have_text("You cannot rate here")
    expect(rater.locator("#notice")).to_have_text("Judgments that came too late to count: 1")
    thumbs.get_by_role("button", name="Good reply").click()
    expect(thumbs.get_by_role("status")).to_contain_text("You cannot rate here.")
    page.unroute_all()
    page.reload()
    expect(rater.locator("#empty-title")).to_have_text("You cannot rate here")  # there is no token any more
    theirs = [each for each in world.serving.events("feedback.judgments") if getattr(each, "recruiter", "") == recruiter]
    assert len(theirs) == 1, "what was accepted stays"
    page.close()
    errors.clear()  # the browser logs each refusal


def test_a_page_of_the_product_can_ask_for_nothing_else(world: World, page: Page, errors: list[str]) -> None:
    before, token = world.sizes(), world.token()
    judgment = {"pair_id": REPLY, "recruiter": "Noor", "choice": "A"}
    forbidden: list[tuple[str, str, Any]] = [
        ("GET", f"{world.hub.url}/v1/export", None),
        ("GET", f"{world.hub.url}/v1/status", None),
        ("POST", f"{world.hub.url}/v1/rollback", {"reviewer": "Noor", "reason": "because"}),
        ("POST", f"{world.hub.url}/v1/freeze", {}),
        ("POST", f"{world.hub.url}/v1/widget-tokens", {"recruiter": "Ben", "origin": world.product.origin}),
        ("POST", f"{world.serving.url}/v1/widget-tokens", {"recruiter": "Ben", "origin": world.product.origin}),
        ("POST", f"{world.serving.url}/v1/feedback/bulk", {"items": [{"type": "comparison"} | judgment]}),
        ("POST", f"{world.serving.url}/v1/chat/completions", {"model": "none", "messages": [{"role": "user", "content": "hello"}]}),
    ]
    for method, url, body in forbidden:
        for sent in (token, None):
            assert page.evaluate(ASK, [method, url, sent, body]) == "unreadable", url
    assert page.evaluate(ASK, ["POST", f"{world.hub.url}/v1/judgments", None, judgment]) == 401
    assert page.evaluate(ASK, ["GET", f"{world.hub.url}/v1/queue?recruiter=Noor", None, None]) == 401
    assert page.evaluate(ASK, ["POST", f"{world.serving.url}/v1/feedback", None, {"type": "comparison"} | judgment]) == 401
    page.evaluate(WITHOUT_PREFLIGHT, [f"{world.hub.url}/v1/judgments", judgment])
    assert world.sizes() == before
    errors.clear()  # the browser logs each refusal


def test_a_page_of_a_third_origin_gets_nowhere_with_a_stolen_token(world: World, browser: BrowserContext, errors: list[str]) -> None:
    before = world.sizes()
    page = browser.new_page()
    page.goto(world.product.origin.replace("localhost", "127.0.0.1"))  # another origin, which is not on the list
    judgment = {"pair_id": REPLY, "recruiter": "Noor", "choice": "A"}
    for sent in (world.token(), None):
        assert page.evaluate(ASK, ["POST", f"{world.hub.url}/v1/judgments", sent, judgment]) == "unreadable"
        assert page.evaluate(ASK, ["GET", f"{world.hub.url}/v1/queue?recruiter=Noor", sent, None]) == "unreadable"
        assert page.evaluate(ASK, ["POST", f"{world.serving.url}/v1/feedback", sent, {"type": "comparison"} | judgment]) == "unreadable"
    assert world.sizes() == before
    errors.clear()  # the browser logs each refusal


def test_no_token_judges_for_somebody_else(world: World, page: Page, errors: list[str]) -> None:
    before = world.sizes()
    judgment = {"pair_id": REPLY, "recruiter": "Ben", "choice": "A"}
    assert page.evaluate(ASK, ["POST", f"{world.hub.url}/v1/judgments", world.token(), judgment]) == 403
    assert page.evaluate(ASK, ["GET", f"{world.hub.url}/v1/queue?recruiter=Ben", world.token(), None]) == 403
    assert page.evaluate(ASK, ["POST", f"{world.serving.url}/v1/feedback", world.token(), {"type": "comparison"} | judgment]) == 403
    of_one_pair = world.product.client.widget_token("Noor", world.product.origin, pair_id=REPLY).token
    another = judgment | {"recruiter": "Noor", "pair_id": "0195f0a0-0000-7000-8000-000000000001"}
    assert page.evaluate(ASK, ["POST", f"{world.hub.url}/v1/judgments", of_one_pair, another]) == 403
    for body in ({"type": "comparison"} | another, {"type": "thumb", "recruiter": "Noor", "thumb": "up", "reply_id": REPLY}):
        assert page.evaluate(ASK, ["POST", f"{world.serving.url}/v1/feedback", of_one_pair, body]) == 403
    assert world.sizes() == before
    assert page.evaluate(ASK, ["POST", f"{world.hub.url}/v1/judgments", of_one_pair, another | {"pair_id": REPLY}]) == 202
    errors.clear()  # the browser logs each refusal
