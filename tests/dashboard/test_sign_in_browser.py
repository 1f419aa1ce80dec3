"""People in a real browser: they sign in, do what their role permits, are refused the rest, and sign out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from storage.events import JudgmentGiven, ReviewDecided, new_id
from tests.access.hub_with_people import HubWithPeople, hub_with_people
from tests.access.identity_provider import CLIENT, SECRET, identity_provider
from tests.access.installation import PASSWORD, until
from tests.dashboard.small_world import INVENTED
from tests.dashboard.strangers import ASK, OPEN_SOCKET
from tests.dashboard.test_widget import violations

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubWithPeople]:
    with hub_with_people(tmp_path_factory.mktemp("home")) as running:
        running.running.world.chat(6)
        until(lambda: running.status()["waiting"]["to_rate"] == 6)
        yield running


def sign_in(page: Page, login: str, password: str = PASSWORD) -> None:
    page.fill("#login", login)
    page.fill("#password", password)
    page.click("button")


def links(page: Page) -> list[str]:
    return [each.strip() for each in page.locator(".nav-link:visible").all_inner_texts()]


def asked(page: Page, path: str, body: dict[str, Any]) -> int:
    """The status of a request by the page itself."""
    options = "{method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)}"
    found: int = page.evaluate(f"async ([path, body]) => (await fetch(path, {options})).status", [path, body])
    return found


def test_a_recruiter_signs_in_rates_is_refused_to_review_and_signs_out(
    hub: HubWithPeople, browser: BrowserContext, errors: list[str]
) -> None:
    page = browser.new_page()
    page.goto(f"{hub.running.url}/rate")
    expect(page).to_have_url(f"{hub.running.url}/sign-in?next=/rate")
    sign_in(page, "ana", "not her password")
    expect(page.locator("#problem")).to_have_text("Login or password is not right.")
    sign_in(page, "ana")
    expect(page).to_have_url(f"{hub.running.url}/rate")
    expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
    assert links(page) == ["Rate", "Chat", "My data"]
    page.evaluate("document.querySelector('feedbackloop-rate').focus()")
    page.keyboard.press("1")
    warehouse = hub.running.hub.warehouse
    until(lambda: warehouse.events(JudgmentGiven))
    assert {getattr(each, "recruiter", "") for each in warehouse.events(JudgmentGiven)} == {hub.people["Ana"].recruiter}
    page.click("#nav-me")
    expect(page.locator("#my-data")).to_contain_text(hub.people["Ana"].person)
    page.goto(f"{hub.running.url}/promotions")
    expect(page.locator("main")).to_contain_text("You may not see this page.")
    assert asked(page, "/v1/rollback", {"reason": "why not"}) == 403
    page.click("#nav-me")
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page).to_have_url(f"{hub.running.url}/sign-in")
    page.goto(f"{hub.running.url}/rate")
    expect(page.locator("#login")).to_be_visible()
    page.close()
    assert all("401" in each or "403" in each for each in errors), errors
    errors.clear()  # the browser logs each refusal


def test_the_sign_in_page_is_accessible(hub: HubWithPeople, browser: BrowserContext) -> None:
    page = browser.new_page()
    page.goto(f"{hub.running.url}/sign-in")
    assert violations(page) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])  # the same site by another port, whose requests have the cookie; another site
def test_a_page_of_another_origin_does_nothing_for_who_has_signed_in(
    hub: HubWithPeople, browser: BrowserContext, strangers: int, errors: list[str], host: str
) -> None:
    world, url = hub.running.world, hub.running.url
    version = world.evaluate(world.request(1, sections=INVENTED | {"duel": {"required": False}}), f"what {host} approves")
    until(lambda: version in hub.status()["awaiting_review"])
    own = browser.new_page()
    own.goto(f"{url}/promotions/{version}")
    sign_in(own, "rosa")
    expect(own.locator("#review-name")).to_have_value("Rosa Adler")
    page = browser.new_page()
    page.goto(f"http://{host}:{strangers}/")
    posts: dict[str, Any] = {
        "/v1/judgments": {"pair_id": str(new_id()), "choice": "A"},
        f"/v1/versions/{version}/review": {"decision": "approve", "reason": "because"},
        "/v1/rollback": {"reason": "because"},
        "/sign-out": {},
    }
    for path, body in posts.items():
        for mode, kind in (("no-cors", "text/plain"), ("cors", "application/json")):
            found = page.evaluate(ASK, ["POST", url + path, json.dumps(body), mode, kind])
            assert found["text"] == "" or found["type"] == "error"
    for path in ("/v1/export", "/v1/me", "/v1/live"):
        assert page.evaluate(ASK, ["GET", url + path, None, "cors", ""])["type"] == "error"
    assert page.evaluate(OPEN_SOCKET, f"{url.replace('http', 'ws')}/_dash-ws-callback") == "refused"
    with page.expect_response(lambda answer: answer.url.startswith(url)) as framed:
        page.evaluate("url => { document.querySelector('iframe').src = url }", f"{url}/promotions/{version}")
    assert framed.value.status == 403
    own.fill("#review-reason", "I have read the replies.")
    own.get_by_role("button", name="Reject").click()  # still signed in, and nobody has decided
    expect(own.locator("#decision")).to_contain_text("Rosa Adler")
    theirs = [
        each for each in hub.running.hub.warehouse.events(JudgmentGiven) if getattr(each, "recruiter", "") == hub.people["Rosa"].recruiter
    ]
    assert theirs == []
    page.close()
    own.close()
    errors.clear()  # the browser logs each refusal


def test_a_reviewer_approves_by_name_and_an_admin_sees_it(hub: HubWithPeople, browser: BrowserContext, errors: list[str]) -> None:
    world = hub.running.world
    version = world.evaluate(world.request(1, sections=INVENTED | {"duel": {"required": False}}), "in the browser")
    until(lambda: version in hub.status()["awaiting_review"])
    page = browser.new_page()
    page.goto(f"{hub.running.url}/promotions/{version}")
    sign_in(page, "noor")
    expect(page.locator("#review-name")).to_have_value("Noor Adler")
    expect(page.locator("#review-name")).to_be_disabled()
    page.fill("#review-reason", "I have read the replies.")
    page.get_by_role("button", name="Approve").click()
    until(lambda: hub.running.hub.warehouse.events(ReviewDecided))
    expect(page.locator("#decision")).to_contain_text("Noor Adler")
    page.click("#sign-out")
    expect(page.locator("#login")).to_be_visible()
    sign_in(page, "ada")
    expect(page.locator("#signed-in-name")).to_have_text("Ada Adler")
    page.click("#nav-people")
    expect(page.locator("#people")).to_contain_text("Rosa Adler")
    expect(page.locator("#people")).to_contain_text("operator")
    page.click("#nav-audit")
    expect(page.locator("#audit-trail")).to_contain_text(f"approve {version}")
    expect(page.locator("#live-word")).to_have_text("Live")
    page.close()
    errors.clear()


def test_who_is_removed_while_a_page_is_open_gets_the_sign_in_page(hub: HubWithPeople, browser: BrowserContext, errors: list[str]) -> None:
    page = browser.new_page()
    page.goto(f"{hub.running.url}/runs")
    sign_in(page, "ivo")
    expect(page.locator("#live-word")).to_have_text("Live")
    hub.changes.remove("Ivo")
    expect(page.locator("#login")).to_be_visible()
    page.close()
    errors.clear()


def test_who_signs_in_by_the_company_rates_reviews_is_refused_the_rest_and_signs_out(
    tmp_path: Path, browser: BrowserContext, errors: list[str]
) -> None:
    claims = {"s-1": {"name": "Lea Roth", "groups": ["hiring"]}}
    with identity_provider(claims) as provider:
        provider.issuer = provider.issuer.replace("127.0.0.1", "localhost")  # another site
        oidc = {
            "issuer": provider.issuer,
            "client_id": CLIENT,
            "client_secret": SECRET,
            "name": "Example AG",
            "roles": {"hiring": "reviewer"},
        }
        with hub_with_people(tmp_path, [], oidc=oidc) as hub:
            world = hub.running.world
            world.chat(2)
            version = world.evaluate(world.request(1, sections=INVENTED | {"duel": {"required": False}}), "by a reviewer of the company")
            until(lambda: hub.status()["waiting"]["to_rate"] == 2 and version in hub.status()["awaiting_review"])
            page = browser.new_page()
            page.goto(f"{hub.running.url}/rate")
            assert violations(page) == []
            page.get_by_role("link", name="Continue with Example AG").click()
            page.get_by_role("button", name="Sign in").click()  # as nobody
            expect(page.locator("#problem")).to_have_text("The identity provider refused (access_denied); try again.")
            page.goto(f"{hub.running.url}/rate")
            page.get_by_role("link", name="Continue with Example AG").click()
            page.fill("#subject", "s-1")
            page.get_by_role("button", name="Sign in").click()
            expect(page).to_have_url(f"{hub.running.url}/rate")
            expect(page.locator("#signed-in-name")).to_have_text("Lea Roth")
            expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
            page.evaluate("document.querySelector('feedbackloop-rate').focus()")
            page.keyboard.press("1")
            until(lambda: hub.running.hub.warehouse.events(JudgmentGiven))
            page.goto(f"{hub.running.url}/promotions/{version}")
            page.fill("#review-reason", "I have read the replies.")
            page.get_by_role("button", name="Approve").click()
            until(lambda: hub.running.hub.warehouse.events(ReviewDecided))
            assert page.evaluate("async () => (await fetch('/v1/export')).status") == 403
            page.click("#sign-out")
            expect(page.get_by_role("link", name="Continue with Example AG")).to_be_visible()
            page.goto(f"{hub.running.url}/rate")
            expect(page.locator("#login")).to_be_visible()
            page.close()
    assert all(any(status in each for status in ("401", "403", "404")) for each in errors), errors  # 404: an icon of the provider's
    errors.clear()
