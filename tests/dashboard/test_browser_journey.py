"""From a version that passed its gates to the champion and back, by clicks on the pages of a running hub; and the page Fairness."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from storage.attestation.envelope import read_record
from storage.events import GroupsRecorded, OutcomeRecorded
from tests.dashboard.in_browser import PHONE, Shoot
from tests.dashboard.small_world import INVENTED, RunningHub, wait_until
from tests.dashboard.test_duel import WINS
from trainers.audits.duel import DuelEvidence, DuelRule

pytestmark = pytest.mark.browser

SECTIONS: dict[str, Any] = INVENTED | {"duel": DuelRule().model_dump(mode="json")}
RACES = ("White", "Black or African American", "Hispanic or Latino", "Asian")


def test_a_version_goes_from_its_review_through_the_duel_to_champion_and_back(
    hub: RunningHub, browser: BrowserContext, shoot: Shoot
) -> None:
    hub.world.chat(40)
    hub.world.judge(30)
    version = hub.world.evaluate(hub.world.request(1, sections=SECTIONS), "3fa1c09d27be")
    hub.wait_for(lambda status: version in status["awaiting_review"])
    page, overview = browser.new_page(), browser.new_page()
    overview.goto(hub.url)
    page.goto(f"{hub.url}/promotions")
    page.click(f"#version-{version}")
    review(page, shoot)
    page.click("#nav-duel")
    duel(hub, version, page, shoot)
    expect(overview.locator(".station-champion .station-figure")).to_have_text(version)
    page.click("#nav-promotions")
    records(version, page, shoot)
    page.fill("#rollback-name", "Noor")
    page.fill("#rollback-reason", "Candidates complain.")
    page.click("#rollback-button")
    expect(page.locator(".history tbody tr").first).to_contain_text("Rolled back")
    expect(page.locator("#rollback")).to_be_hidden()
    expect(overview.locator(".station-champion .station-figure")).to_have_text("base")
    page.click(f"#version-{version}")
    expect(page.locator("#promotion .card-state")).to_contain_text("Rolled back")
    expect(page.locator("#decision button")).to_have_count(0)


def review(page: Page, shoot: Shoot) -> None:
    """The claim is in plain words, passed gates are folded, and the form approves."""
    claim = page.locator("#claim")
    expect(claim.locator(".statement")).to_contain_text("in 62% of comparisons (56 to 69%)")
    expect(claim.locator(".statement")).to_contain_text("at most 5%")
    expect(claim).to_contain_text("8 simulated recruiters, with 186 judgments, on 812 prompts")
    expect(claim).to_contain_text("Error rate of the duel")
    expect(claim.locator("#takes")).to_have_count(0)
    expect(page.locator(".gate-group h3")).to_have_text(["Better?", "Fair?", "Safe and correct?"])
    expect(page.locator(".gate")).to_have_count(13)
    expect(page.locator(".gate[open]")).to_have_count(0)
    gate = page.locator(".gate", has_text="Is it preferred to the champion?")
    gate.locator("summary").click()
    expect(gate).to_contain_text("56.1% to 68.7%")
    gate.locator("summary").click()
    expect(page.locator(".panel tbody tr")).to_have_count(8)
    expect(page.locator(".texts")).to_contain_text("How old are you?")
    expect(page.locator("#promotion-replies")).to_contain_text("My husband says hello.")
    assert heading_levels(page) == sorted_outline(heading_levels(page))
    shoot(page, "review")
    page.fill("#review-name", "Noor")
    page.fill("#review-reason", "Clear next steps; the one question on age was a copy of the candidate's.")
    page.get_by_role("button", name="Approve for the duel").click()
    expect(page.locator("#decision")).to_contain_text("In its duel")


def duel(hub: RunningHub, version: str, page: Page, shoot: Shoot) -> None:
    """Judgments arrive while the page is open, until the line is crossed."""
    expect(page.locator("#duel-standing")).to_contain_text("0 of at most")
    hub.world.duel(version, WINS[:25])
    expect(page.locator("#duel-standing")).to_contain_text("25 of at most")
    expect(page.locator("#duel-standing .card-state")).to_have_text("Undecided")
    expect(page.locator("#duel-standing .main-svg").first).to_be_visible()
    hub.world.duel(version, WINS)
    expect(page.locator("#duel-standing .card-state")).to_have_text("Won")
    expect(page.locator("#duel")).to_contain_text("Recruiters prefer the challenger")
    shoot(page, "duel")
    with page.expect_download() as found:
        page.get_by_role("link", name="Download the judgments").click()
    evidence = DuelEvidence.model_validate_json(found.value.path().read_bytes())
    assert (evidence.version, evidence.champion, len(evidence.judgments) >= 20) == (version, "base", True)


def records(version: str, page: Page, shoot: Shoot) -> None:
    """The promotion is shown as attested, and its record is the signed statement about this version."""
    row = page.locator(".history tr", has_text="Became champion")
    expect(row.locator(".badge-passed")).to_have_text("Attested")
    expect(page.locator("#rollback-button")).to_be_visible()
    shoot(page, "promotions")
    with page.expect_download() as found:
        row.get_by_role("link", name="Record").click()
    assert found.value.suggested_filename == f"{version}.intoto.json"
    assert read_record(found.value.path().read_bytes()).statement().evidence.version == version


def test_the_page_fairness_shows_what_is_recorded_and_says_what_to_send_where_nothing_is(
    hub: RunningHub, browser: BrowserContext, shoot: Shoot
) -> None:
    page = browser.new_page()
    page.goto(f"{hub.url}/fairness")
    expect(page.locator("#outcomes")).to_contain_text("POST /v1/outcomes")
    record_outcomes(hub)
    page.reload()
    expect(page.locator(".ratios").first).to_contain_text("Below four fifths")
    expect(page.locator(".ratios").first.locator("th[scope=row]")).to_have_text(["female", "male"])
    with page.expect_download() as found:
        page.get_by_role("link", name="Impact ratios (CSV)").click()
    assert found.value.path().read_text().splitlines()[1].startswith("screening,selection,sex,female,160,")
    page.fill("#outcomes-to", "2020-01-01")
    page.press("#outcomes-to", "Tab")
    expect(page.locator("#outcomes .problem-line")).to_contain_text("exchange the two dates")
    page.fill("#outcomes-to", datetime.now(UTC).date().isoformat())
    page.press("#outcomes-to", "Tab")
    expect(page.locator(".ratios").first).to_be_visible()

    for n, names in enumerate(("passed", "insufficient", "passed")):
        hub.world.evaluate(hub.world.request(20 + n), f"fairness {n}", names=names)
    expect(page.locator("#newest-contrasts")).to_contain_text("Reward by name")
    expect(page.locator("#trend .curves > div")).to_have_count(7)
    expect(page.locator("#trend .main-svg").first).to_be_visible()
    assert heading_levels(page) == sorted_outline(heading_levels(page))
    shoot(page, "fairness")
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shoot(page, "phone-fairness-filled")


def record_outcomes(hub: RunningHub) -> None:
    """320 decisions of which 40% of the women and 70% of the men are selected."""
    now = datetime.now(UTC) - timedelta(days=3)
    for n in range(320):
        sex, person = ("female", "male")[n % 2], f"c-{n}"
        selected = (n // 2) % 10 < (4 if sex == "female" else 7)
        hub.world.publish(
            GroupsRecorded(source="product", candidate=person, groups={"sex": sex, "race_ethnicity": RACES[n // 2 % 4]}),
            OutcomeRecorded(
                source="product", candidate=person, outcome_id=f"o-{n}", position="nurse", stage="screening", selected=selected,
                score=float(n % 50), decided_at=now,
            ),
        )  # fmt: skip
    days = {"from": now.date().isoformat(), "to": datetime.now(UTC).date().isoformat()}
    wait_until(lambda: hub.get("/v1/fairness/impact-ratios", **days), lambda found: found["applications"] == 320)


def heading_levels(page: Page) -> list[int]:
    levels = page.evaluate("[...document.querySelectorAll('#page h1, #page h2, #page h3, #page h4')].map(h => Number(h.tagName[1]))")
    return [int(level) for level in json.loads(json.dumps(levels))]


def sorted_outline(levels: list[int]) -> list[int]:
    """The levels with every jump of more than one step closed: equal to ``levels`` where the outline skips none."""
    outline = [1]
    for level in levels[1:]:
        outline.append(min(level, outline[-1] + 1))
    return outline
