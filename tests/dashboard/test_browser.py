"""Every page in a real browser, used as a person would, on a hub with a real bus and a real warehouse."""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from storage.artifacts import Artifacts
from storage.texts.texts import Texts
from tests.dashboard.in_browser import PHONE, Shoot
from tests.dashboard.learnt_head import learnt_head, save_as_the_learner
from tests.dashboard.loop_with_people import loop_with_people
from tests.dashboard.small_world import RunningHub, SmallWorld, running_hub, wait_until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def versions(hub: RunningHub) -> dict[str, str]:
    """A loop that has run for a while: one challenger failed, one waits for its reviewer, a run is under way."""
    world = hub.world
    world.chat(380)
    world.judge(337)
    world.learn(337)
    failed, passed = world.request(1), world.request(1, "manual", 260)
    for request in (failed, passed):
        world.train(request, 120)
    names = {
        "failed": world.evaluate(failed, "90cc1e4d2f10" + "0" * 52, facts="failed", names="insufficient"),
        "passed": world.evaluate(passed, "3fa1c09d27be" + "0" * 52),
    }
    broken = world.request(2, "manual", 300)
    reason = "the snapshot failed the expectation 'replies_differ': in 3 rows A and B are the same text"
    world.fail(broken, reason, {"data_docs": data_docs(world)})
    world.train(world.request(3, "manual", 337), 74)
    hub.wait_for(lambda status: sum(status["lag"].values()) == 0 and status["counts"]["learnt"] == 337, 20)
    return names


def test_a_person_goes_from_a_first_rating_to_an_approval(
    hub: RunningHub, versions: dict[str, str], browser: BrowserContext, shoot: Shoot
) -> None:
    overview = browser.new_page()
    overview.goto(hub.url)
    expect(overview.locator("#live-word")).to_have_text("Live")
    expect(overview.locator("#threshold")).to_have_text("137 of 200")
    expect(overview.locator("#simulated")).to_have_text("Simulated data")
    expect(overview.locator("#curve .main-svg").first).to_be_visible()
    shoot(overview, "overview")

    rate(hub, browser, overview, shoot)
    runs(hub, browser, shoot)
    promote(hub, versions, browser, shoot)

    expect(overview.locator(".station-champion .station-figure")).to_have_text(versions["passed"])
    phone(overview, hub, versions["passed"], shoot)


def data_docs(world: SmallWorld) -> str:
    folder = world.settings.common.home / "docs"
    folder.mkdir()
    (folder / "index.html").write_text('<h1>Data checks</h1><a href="features.html">3 of 3 expectations hold</a>')
    (folder / "features.html").write_text("<h1>Features</h1>")
    return Artifacts(world.settings.common.artifacts_url).put(folder)


def rate(hub: RunningHub, browser: BrowserContext, overview: Page, shoot: Shoot) -> None:
    """A by key, a tie by button, undo; every count is updated in the other tab."""
    page = browser.new_page()
    page.goto(f"{hub.url}/rate")
    expect(page.locator("#rate-empty")).to_contain_text("Who is rating?")
    page.fill("#rate-name", "Noor")
    page.press("#rate-name", "Enter")
    expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
    expect(page.locator("feedbackloop-rate #conversation")).to_contain_text("would like to move my interview")
    page.get_by_text("clear", exact=True).click()
    page.fill("feedbackloop-rate #reason", "It names a day and a next step.")
    shoot(page, "rate")
    page.press("feedbackloop-rate #reason", "Escape")

    first = page.locator("feedbackloop-rate #first")
    before = first.inner_text()
    count = overview.locator(".station-rate .station-figure")
    expect(count).to_have_text("337")
    held: list[Route] = []
    page.route("**/v1/judgments", lambda route: held.append(route))  # playwright cannot wrap a builtin
    with page.expect_request("**/v1/judgments"):
        page.keyboard.press("1")
    expect(first).not_to_have_text(before)  # the next pair is shown while the judgment is still on its way

    def on_its_way() -> list[Route]:
        page.wait_for_timeout(20)
        return held

    wait_until(on_its_way, bool)
    held[0].continue_()
    page.unroute("**/v1/judgments")
    expect(count).to_have_text("338")
    expect(overview.locator("#live-word")).to_have_text("Live")
    judgment = hub.wait_for(lambda status: status["counts"]["judgments"] == 338)
    row = Texts.of(hub.world.settings).row(hub.hub.warehouse.query("recent_judgments", {"limit": 1}).to_pylist()[0])
    assert judgment["sources"] == {"product": 1, "simulation": 337}
    assert (row["choice"], row["strength"], row["reason"]) == (row["choice"], 3, "It names a day and a next step.")
    assert row["choice"] in ("A", "B")
    expect(overview.locator("#simulated")).to_have_text("Partly simulated data")
    expect(page.locator("feedbackloop-rate #reason")).to_have_value("")

    second = first.inner_text()
    page.click("feedbackloop-rate #tie-button")
    expect(first).not_to_have_text(second)
    expect(count).to_have_text("339")
    page.keyboard.press("u")
    expect(first).to_have_text(second)
    expect(count).to_have_text("340")
    page.keyboard.press("u")
    expect(first).to_have_text(before)
    expect(count).to_have_text("341")
    expect(page.locator("feedbackloop-rate #undo-button")).to_be_disabled()
    page.keyboard.press("4")
    expect(count).to_have_text("342")
    hub.wait_for(lambda status: status["counts"]["removed"] == 2)
    page.reload()
    expect(page.locator("#rate-name")).to_have_value("Noor")
    expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
    page.close()


def runs(hub: RunningHub, browser: BrowserContext, shoot: Shoot) -> None:
    page = browser.new_page()
    page.goto(hub.url)
    page.click("#nav-runs")
    newest = page.locator(".run").first
    expect(newest).to_contain_text("74 of 120")
    expect(newest.locator(".stage-name")).to_have_text(["Check data", "Train", "Sample", "Compare", "Gates"])
    expect(newest.locator(".main-svg").first).to_be_visible()
    expect(page.locator(".run").nth(1)).to_contain_text("in 3 rows A and B are the same text")
    replies = newest.locator(".training-replies")
    expect(replies).to_contain_text("Replies through the training")
    expect(replies.locator("details[open] tr")).to_have_text(["step 0See the portal.", "step 74We will write by Friday."])
    shoot(page, "runs")
    page.get_by_role("link", name="data checks").click()
    page.get_by_role("link", name="3 of 3 expectations hold").click()
    expect(page.locator("h1")).to_have_text("Features")
    page.close()


def promote(hub: RunningHub, versions: dict[str, str], browser: BrowserContext, shoot: Shoot) -> None:
    """The failed version has no buttons; the other one is approved through the form."""
    page = browser.new_page()
    page.goto(f"{hub.url}/promotions")
    page.click(f"#version-{versions['failed']}")
    expect(page.locator("#decision")).to_contain_text("Cannot be promoted")
    expect(page.locator("#decision")).to_contain_text("too little evidence")
    expect(page.locator("#decision button")).to_have_count(0)
    shoot(page, "blocked")
    review = {"decision": "approve", "reviewer": "Noor", "reason": "I insist."}
    assert hub.client.post(f"/v1/versions/{versions['failed']}/review", json=review).status_code == 409

    page.click("#nav-promotions")
    page.click(f"#version-{versions['passed']}")
    expect(page.locator(".gate")).to_have_count(13)
    expect(page.locator("#promotion-replies")).to_contain_text("The five worst replies")
    expect(page.locator(".pairing")).to_have_count(11)  # and the replies to two candidates
    shoot(page, "version")
    page.get_by_role("button", name="Approve and serve").click()
    expect(page.locator("#decision")).to_contain_text("Type your name first.")
    page.fill("#review-name", "Noor")
    page.fill("#review-reason", "Clear next steps; the worst five are fine too.")
    page.get_by_role("button", name="Approve and serve").click()
    expect(page.locator("#decision")).to_contain_text("Approved by Noor")
    expect(page.locator("#promotion .card-state")).to_contain_text("Champion")
    page.click("#nav-promotions")
    expect(page.locator("#rollback-button")).to_be_visible()
    expect(page.locator("#promotions")).to_contain_text("Became champion")
    shoot(page, "promotions")
    page.close()


def phone(page: Page, hub: RunningHub, version: str, shoot: Shoot) -> None:
    """Nothing is wider than a phone's screen."""
    page.set_viewport_size(PHONE)
    for path in ("/", "/rate", "/runs", "/promotions", "/duel", "/fairness", f"/promotions/{version}"):
        page.goto(f"{hub.url}{path}")
        expect(page.locator("#live-word")).to_have_text("Live")
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        shoot(page, f"phone{path.replace(version, 'version').replace('/', '-').rstrip('-')}")


def test_a_person_judges_ten_pairs_while_simulated_recruiters_are_at_work(tmp_path: Path, browser: BrowserContext) -> None:
    with loop_with_people(tmp_path / "home", judged=1.0, begun=1.0) as hub:
        hub.world.chat(3)  # earlier pairs, which the simulated people cannot judge, as after their restart
        hub.wait_for(lambda status: status["sources"].get("simulation", 0) >= 2 and status["waiting"]["to_rate"] >= 1, 60)
        page = browser.new_page()
        page.goto(f"{hub.url}/rate")
        expect(page.locator("#rate-empty")).to_contain_text("Who is rating?")
        page.evaluate(WATCH_THE_FIGURE)
        page.fill("#rate-name", "Noor")
        page.press("#rate-name", "Enter")
        expect(page.locator("feedbackloop-rate #pair")).to_be_visible(timeout=5_000)
        for number in range(1, 11):
            expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
            page.keyboard.press("1")
            expect(page.locator("feedbackloop-rate #progress")).to_contain_text(f"{number} judged")
        status = hub.wait_for(lambda status: status["sources"].get("product", 0) == 10)
        assert status["sources"]["simulation"] >= 2
        own = "SELECT pair_id FROM judgment_given WHERE source = 'product'"
        given = f"SELECT count(*), count(DISTINCT pair_id), min(source) FROM judgment_given WHERE pair_id IN ({own})"
        assert hub.hub.warehouse.cursor().execute(given).fetchall() == [(10, 10, "product")]  # ten pairs, which nobody else judged
        hub.wait_for(lambda later: later["sources"]["simulation"] > status["sources"]["simulation"], 30)  # they have not stopped
        assert page.evaluate("window.contradictions") == []
        expect(page.locator("feedbackloop-rate #notice")).to_be_hidden()
        page.close()  # before the hub: a page that looks for pairs meanwhile would log an error


def test_a_page_renews_its_leases_while_the_recruiter_is_active_and_releases_them_when_closed(
    tmp_path: Path, browser: BrowserContext
) -> None:
    with running_hub(tmp_path / "home") as hub:
        hub.world.chat(6)
        hub.wait_for(lambda status: status["waiting"]["to_rate"] == 6)
        page = browser.new_page()
        page.clock.install()
        page.goto(f"{hub.url}/rate")
        page.fill("#rate-name", "Noor")
        page.press("#rate-name", "Enter")
        expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
        renewals: list[str] = []
        page.on("request", lambda request: renewals.append(request.url) if request.url.endswith("/v1/queue/renew") else None)
        with page.expect_response("**/v1/queue/renew") as renewed:
            page.clock.run_for(12_000)
        assert len(renewed.value.json()["held"]) == 6
        page.clock.fast_forward(400_000)  # no key or pointer events meanwhile
        page.clock.run_for(1_000)
        before = len(renewals)
        page.clock.run_for(30_000)
        assert len(renewals) == before
        with page.expect_response("**/v1/queue/renew"):
            page.mouse.move(300, 300)
            page.clock.run_for(2_000)
        page.close(run_before_unload=True)
        wait_until(lambda: hub.get("/v1/queue", recruiter="Ben", limit=6)["pairs"], lambda pairs: len(pairs) == 6)


WATCH_THE_FIGURE = """() => {
  window.contradictions = [];
  const look = () => {
    const rater = document.querySelector("feedbackloop-rate");
    const [empty, progress] = ["empty", "progress"].map((id) => rater && rater.shadowRoot.getElementById(id));
    if (rater && /Nothing left/.test(empty.textContent) && !empty.hidden && /[1-9][0-9]* waiting/.test(progress.textContent))
      window.contradictions.push(progress.textContent);
    requestAnimationFrame(look);
  };
  look();
}"""


def test_an_open_page_reconnects_after_a_restart_of_the_hub(tmp_path: Path, browser: BrowserContext, errors: list[str]) -> None:
    page = browser.new_page()
    with running_hub(tmp_path / "home") as hub:
        page.goto(hub.url)
        expect(page.locator("#live-word")).to_have_text("Live")
        expect(page.locator("#overview-lead")).to_contain_text("No conversations yet")
        port = int(hub.url.rsplit(":", 1)[1])
    with running_hub(tmp_path / "home", port) as hub:
        hub.world.chat(3)
        expect(page.locator(".station-chat .station-figure")).to_have_text("3", timeout=20_000)
        hub.world.chat(1)
        expect(page.locator(".station-chat .station-figure")).to_have_text("4", timeout=2_000)
    errors.clear()  # the browser logs the connections lost meanwhile


def test_the_reward_page_says_how_far_the_reward_model_can_be_trusted(tmp_path: Path, browser: BrowserContext, shoot: Shoot) -> None:
    with running_hub(tmp_path / "home") as hub:
        page = browser.new_page()
        page.goto(f"{hub.url}/reward")
        expect(page.locator("#reward-curve")).to_contain_text("No judgment learnt yet")
        expect(page.locator("#reward-may")).to_contain_text("in the first training run")
        head = learnt_head(600)
        hub.world.chat(40)
        hub.world.learn(100)
        hub.world.evaluate(hub.world.request(1), "3fa1c09d27be" + "0" * 52)
        save_as_the_learner(hub, head)
        expect(page.locator("#reward-trust")).to_contain_text("600")
        expect(page.locator("#reward-trust .main-svg").first).to_be_visible()
        recruiters = page.locator("#reward-recruiters")
        expect(recruiters.locator("tbody tr")).to_have_count(8)
        expect(recruiters).to_contain_text("Krippendorff's alpha 0.")
        expect(recruiters).to_contain_text("looks random")
        expect(page.locator("#reward-objectives")).to_contain_text("nobody has judged 'safe' yet")
        expect(page.locator("#reward-saved")).to_contain_text("Not known yet")
        expect(page.locator("#reward-may")).to_contain_text("reward")
        shoot(page, "reward")
        page.close()  # before the hub: a page that reconnects meanwhile would log an error
