"""The elements of ``/widget.js`` in a real browser, in pages of a product.

A product's page is written by the test and shown at an address of the server whose element it has.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from storage.events import ResponseRated
from storage.settings import Settings
from tests.dashboard.in_browser import PHONE, WIDE
from tests.dashboard.small_world import RunningHub, wait_until
from tests.serving.conftest import Server, run_serving

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "build" / "clients" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"
RATE = "<feedbackloop-rate recruiter='Noor'></feedbackloop-rate>"
REPLY = "0195f0a0-0000-7000-8000-000000000000"
THUMBS = f"<feedbackloop-thumbs recruiter='Noor' reply-id='{REPLY}'></feedbackloop-thumbs>"


@pytest.fixture(scope="module")
def hub(hub: RunningHub) -> RunningHub:
    hub.world.chat(40)
    hub.wait_for(lambda status: status["waiting"]["to_rate"] == 40)
    return hub


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("serving")
    settings = Settings.read(home, environ={}).with_values({"home": home}, upstream={"url": "http://127.0.0.1:9/v1", "model": "none"})
    with run_serving(settings) as running:
        yield running


def product(browser: BrowserContext, url: str, body: str, style: str = "", policy: str = "") -> Page:
    """A page of a product at an address of this server, with the script and ``body``."""
    page = browser.new_page()
    text = f"<!doctype html><html lang=en><title>Product</title>{style}<script src=widget.js></script><main><h1>Product</h1>{body}</main>"
    headers = {"Content-Security-Policy": policy} if policy else {}
    page.route(f"{url}/product", lambda route: route.fulfill(body=text, content_type="text/html", headers=headers))
    page.goto(f"{url}/product")
    return page


def rating(browser: BrowserContext, hub: RunningHub, **options: Any) -> Page:
    """A product's page with a pair on it, and the keys at work."""
    page = product(browser, hub.url, RATE, **options)
    expect(page.locator("#pair")).to_be_visible()
    page.evaluate("document.querySelector('feedbackloop-rate').focus()")
    return page


def violations(page: Page) -> list[str]:
    """What axe-core finds in the page and its shadow trees."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run `make clients`")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    assert found["passes"]
    return [f"{each['id']}: {each['help']} ({node['target']})" for each in found["violations"] for node in each["nodes"]]


def judged_by(page: Page, key: str) -> dict[str, Any]:
    """The judgment that the page sends after this key."""
    with page.expect_request("**/v1/judgments") as sent:
        page.keyboard.press(key)
    return body_of(sent.value)


def body_of(request: Request) -> dict[str, Any]:
    body: dict[str, Any] | None = request.post_data_json
    assert body is not None
    return body


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_axe_finds_nothing_in_either_element(browser: BrowserContext, hub: RunningHub, scheme: str, viewport: Any) -> None:
    style = f"<style>html {{ color-scheme: {scheme}; background: Canvas; color: CanvasText }}</style>"
    page = product(browser, hub.url, RATE + THUMBS + "<feedbackloop-rate></feedbackloop-rate>", style=style)
    page.set_viewport_size(viewport)
    rater = page.locator("feedbackloop-rate").first
    expect(rater.locator("#pair")).to_be_visible()
    expect(page.locator("feedbackloop-rate").last).to_contain_text("needs the attribute recruiter or token-src")
    rater.locator("summary", has_text="Answer for each objective").click()
    rater.get_by_role("button", name="clear").click()
    rater.get_by_role("group", name="safe").get_by_role("button", name="Tie").click()
    page.evaluate("document.querySelector('feedbackloop-thumbs').shadowRoot.querySelector('form').hidden = false")
    assert violations(page) == []


def test_a_judgment_carries_strength_reason_and_the_answers_for_each_objective(browser: BrowserContext, hub: RunningHub) -> None:
    page = rating(browser, hub)
    rater = page.locator("feedbackloop-rate")
    shown = [rater.locator(f"#{side}").inner_text() for side in ("first", "second")]
    rater.get_by_role("button", name="slight").click()
    rater.get_by_role("button", name="significant").click()
    rater.locator("summary", has_text="Answer for each objective").click()
    for objective, answer in (("helpful", "B"), ("safe", "Neither"), ("factual", "Tie"), ("factual", "Tie"), ("engaging", "A")):
        rater.get_by_role("group", name=objective).get_by_role("button", name=answer, exact=True).click()
    page.fill("#reason", "It names a day.")
    page.press("#reason", "a")
    page.press("#reason", "Escape")
    body = judged_by(page, "b")
    first, second = body["shown_first"], {"A": "B", "B": "A"}[body["shown_first"]]
    assert body["choice"] == second
    assert body["strength"] == 4
    assert body["objectives"] == {"helpful": second, "safe": "neither", "engaging": first}  # "factual" was taken back
    assert sorted(body["reason"]) == sorted("It names a day.a")
    assert 0 < body["seconds"] < 60
    pair = next(each for each in hub.world.pairs if str(each.pair_id) == body["pair_id"])
    assert shown == [{"A": pair.a.text, "B": pair.b.text}[side] for side in (first, second)]
    expect(rater.get_by_role("button", name="significant")).to_have_attribute("aria-pressed", "false")
    assert judged_by(page, "n").keys() == {"pair_id", "recruiter", "shown_first", "choice", "seconds"}


def test_keys_work_only_while_the_focus_is_inside(browser: BrowserContext, hub: RunningHub) -> None:
    page = product(browser, hub.url, "<input id=own>" + RATE)
    expect(page.locator("#pair")).to_be_visible()
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.url.endswith("/judgments") else None)
    page.keyboard.press("1")
    page.press("#own", "1")
    expect(page.locator("#own")).to_have_value("1")
    expect(page.locator("kbd").first).to_be_hidden()
    page.locator("#first").click()
    expect(page.locator("kbd").first).to_be_visible()
    assert judged_by(page, "3")["choice"] == "tie"
    with page.expect_request("**/v1/judgments"):
        page.locator("#undo-button").press("Enter")
    expect(page.locator("#undo-button")).to_be_disabled()
    assert judged_by(page, "4")["choice"] == "neither"  # the focus has stayed inside
    assert [body_of(request)["choice"] for request in sent] == ["tie", "skip", "neither"]


def test_a_judgment_is_sent_again_until_the_hub_accepts_it(browser: BrowserContext, hub: RunningHub, errors: list[str]) -> None:
    page = rating(browser, hub)
    answers = [503, 429]

    def away(route: Route) -> None:
        if answers:
            route.fulfill(status=answers.pop(), body=json.dumps({"error": {"message": "the log is away"}}), content_type="application/json")
        else:
            route.continue_()

    page.route("**/v1/judgments", away)
    before = hub.get("/v1/status")["counts"]["judgments"]
    for key in ("1", "2", "3"):
        page.keyboard.press(key)
    expect(page.locator("#notice")).to_contain_text("3 judgments are not sent yet (the log is away); trying again.")
    expect(page.locator("#progress")).to_contain_text("3 not sent yet")
    expect(page.locator("#notice")).to_be_hidden(timeout=15_000)
    hub.wait_for(lambda status: status["counts"]["judgments"] == before + 3)
    errors.clear()  # the browser logs the refusals


def test_a_judgment_that_is_refused_is_said_and_holds_nothing_up(browser: BrowserContext, hub: RunningHub, errors: list[str]) -> None:
    page = rating(browser, hub)
    page.route("**/v1/judgments", lambda route: route.fulfill(status=409, json={"error": {"message": "you wrote this reply"}}), times=1)
    page.keyboard.press("1")
    expect(page.locator("#notice")).to_have_text("A judgment was refused: you wrote this reply")
    with page.expect_response("**/v1/judgments") as answered:
        page.keyboard.press("1")
    assert answered.value.status == 202
    expect(page.locator("#notice")).to_be_hidden()
    errors.clear()  # the browser logs the refusal


def test_an_element_that_leaves_the_page_releases_its_pairs(browser: BrowserContext, hub: RunningHub) -> None:
    page = rating(browser, hub)
    with page.expect_response("**/v1/queue/release") as released:
        page.evaluate("document.querySelector('feedbackloop-rate').remove()")
    assert released.value.status == 204
    with page.expect_response("**/v1/queue?*") as asked:
        page.evaluate("document.body.append(Object.assign(document.createElement('feedbackloop-rate'), {id: 'again'}))")
        page.evaluate("document.querySelector('#again').setAttribute('recruiter', 'Ben')")
    assert "recruiter=Ben" in asked.value.url


def test_the_elements_follow_the_page_s_colours_under_a_strict_policy(browser: BrowserContext, hub: RunningHub) -> None:
    page = rating(browser, hub, policy=POLICY)
    colour = "element => getComputedStyle(element).backgroundColor"
    card = page.locator(".card").first
    assert card.evaluate(colour) == "rgb(255, 255, 255)"
    page.evaluate("document.documentElement.style.colorScheme = 'dark'")
    assert card.evaluate(colour) == "rgb(26, 29, 37)"
    page.evaluate("document.body.style.setProperty('--feedbackloop-card', 'rgb(1, 2, 3)')")
    assert card.evaluate(colour) == "rgb(1, 2, 3)"


def test_a_thumb_is_given_explained_changed_and_taken_back(browser: BrowserContext, serving: Server) -> None:
    page = product(browser, serving.url, THUMBS, policy=POLICY)
    up, down = (page.get_by_role("button", name=name) for name in ("Good reply", "Bad reply"))
    up.click()
    expect(up).to_have_attribute("aria-pressed", "true")
    page.fill("input", "It answers the question.")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("the reason is noted")
    expect(page.locator("input")).to_be_hidden()
    down.press("Enter")
    expect(down).to_have_attribute("aria-pressed", "true")
    expect(up).to_have_attribute("aria-pressed", "false")
    down.click()
    expect(page.get_by_role("status")).to_have_text("Taken back.")
    expect(down).to_have_attribute("aria-pressed", "false")

    def given() -> list[ResponseRated]:
        return [event for event in serving.events("feedback.ratings") if isinstance(event, ResponseRated)]

    said = [(event.thumb, event.reason) for event in wait_until(given, lambda events: len(events) == 4)]
    assert said == [("up", None), ("up", "It answers the question."), ("down", None), (None, None)]
    assert {str(event.reply_id) for event in given()} == {REPLY}


def test_a_thumb_that_could_not_be_sent_can_be_pressed_again(browser: BrowserContext, serving: Server, errors: list[str]) -> None:
    page = product(browser, serving.url, THUMBS.replace("recruiter='Noor'", ""))
    up = page.get_by_role("button", name="Good reply")
    up.click()
    expect(page.get_by_role("status")).to_contain_text("Not sent: recruiter")
    expect(up).to_have_attribute("aria-pressed", "false")
    page.evaluate("document.querySelector('feedbackloop-thumbs').setAttribute('recruiter', 'Noor')")
    up.click()
    expect(up).to_have_attribute("aria-pressed", "true")
    errors.clear()  # the browser logs the refusal
