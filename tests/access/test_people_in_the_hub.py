"""People at a running hub: what each role may see and do, whose judgment and decision it is, and what happens when they are removed."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dashboard.pages.table import PAGES
from storage.events import JudgmentGiven, ReviewDecided, TrainingRequested
from tests.access.hub_with_people import HubWithPeople, hub_with_people
from tests.access.installation import until
from tests.dashboard.small_world import INVENTED
from tests.dashboard.test_page_calls import CALL, LISTED


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubWithPeople]:
    with hub_with_people(tmp_path_factory.mktemp("home"), review={"four_eyes": True}) as running:
        running.running.world.chat(12)
        until(lambda: running.status()["waiting"]["to_rate"] == 12)
        yield running


def shown(client: httpx.Client, path: str) -> str:
    """The page at this address, as JSON."""
    call = {
        "output": "page.children",
        "outputs": {"id": "page", "property": "children"},
        "inputs": [{"id": "address", "property": "pathname", "value": path}],
        "changedPropIds": ["address.pathname"],
    }
    return client.post(CALL, json=call).text


SEEN = {
    "Ana": {"/", "/rate", "/chat", "/me"},
    "Rosa": {"/", "/rate", "/chat", "/votes", "/reward", "/runs", "/promotions", "/duel", "/fairness", "/me"},
    "Ivo": {"/", "/votes", "/reward", "/runs", "/promotions", "/duel", "/fairness", "/audit", "/me"},
    "Ada": {"/", "/votes", "/reward", "/runs", "/promotions", "/duel", "/fairness", "/people", "/audit", "/me"},
}


@pytest.mark.parametrize("name", SEEN)
def test_each_role_sees_its_pages_and_no_other(hub: HubWithPeople, name: str) -> None:
    with hub.signed_in(name) as client:
        allowed = {page.path for page in PAGES if "You may not see this page" not in shown(client, page.path)}
        assert allowed == SEEN[name]
        assert client.post(CALL, json=LISTED).status_code == (200 if "/promotions" in allowed else 403)
        frame = client.get("/_dash-layout").text
        assert f"{name} Adler" in frame
        assert client.get("/assets/shell.js").status_code == 200


def test_without_a_session_there_is_the_sign_in_page_and_nothing_else(hub: HubWithPeople) -> None:
    with hub.client() as client:
        for path in ("/", "/_dash-layout", "/_dash-dependencies", "/_reload-hash", "/assets/shell.js", "/people", "/v1/me"):
            assert client.get(path).status_code == 401, path
        assert client.post(CALL, json=LISTED).status_code == 401
        assert client.get("/", headers={"Accept": "text/html"}).headers["Location"] == "/sign-in?next=/"
        policy = client.get("/sign-in").headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy


def test_who_judges_is_who_signed_in(hub: HubWithPeople) -> None:
    with hub.signed_in("Ana") as client:
        pair, *_ = client.get("/v1/queue").json()["pairs"]
        body = {"pair_id": pair["pair_id"], "choice": "A"}
        assert client.post("/v1/judgments", json=body | {"recruiter": "Ben"}).status_code == 403
        assert client.get("/v1/queue", params={"recruiter": "Ben"}).status_code == 403
        assert client.post("/v1/judgments", json=body, headers={"X-FeedbackLoop-Source": "simulation"}).status_code == 202
        warehouse = hub.running.hub.warehouse
        until(lambda: warehouse.events(JudgmentGiven))
        [judgment] = warehouse.events(JudgmentGiven)
        assert isinstance(judgment, JudgmentGiven)
        assert (judgment.recruiter, judgment.source) == (hub.people["Ana"].recruiter, "product")
        held = {each["what"]: each["n"] for each in client.get("/v1/me").json()["held"]}
        assert held["judgments"] == 1
        assert client.get("/v1/audit-trail").status_code == 403


def decide(client: httpx.Client, version: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/versions/{version}/review", json={"decision": "approve", "reason": "I have read the replies."} | body)


def test_four_eyes_are_two_people_and_two_reviewers_with_one_account_are_one(hub: HubWithPeople) -> None:
    world = hub.running.world
    rosa = hub.people["Rosa"].person
    sections = INVENTED | {"duel": {"required": False}, "review": {"four_eyes": True}}
    version = world.evaluate(world.request(1, "manual", sections=sections, requested_by=rosa), "by Rosa")
    until(lambda: version in hub.status()["awaiting_review"])
    with hub.signed_in("Rosa") as one, hub.signed_in("Rosa") as other, hub.signed_in("Noor") as noor, hub.signed_in("Ivo") as ivo:
        for client in (one, other):
            assert "may not approve it" in decide(client, version).text
        assert decide(one, version, reviewer="Noor").status_code == 403, "nor as somebody else"
        assert decide(ivo, version).status_code == 403
        assert decide(hub.operator, version, reviewer="Olga").status_code == 403
        assert decide(noor, version).status_code == 202
    until(lambda: hub.running.hub.warehouse.events(ReviewDecided))
    [review] = hub.running.hub.warehouse.events(ReviewDecided)
    assert isinstance(review, ReviewDecided)
    assert review.reviewer == hub.people["Noor"].person

    def approvals() -> list[dict[str, Any]]:
        return [each for each in hub.operator.get("/v1/versions").json()["history"] if each["what"] == "approved"]

    until(approvals)
    assert [(each["who"], each["verified"]) for each in approvals()] == [("Noor Adler", True)]
    with hub.signed_in("Ivo") as ivo:
        until(lambda: "approve v-" in ivo.get("/v1/audit-trail").text)
        trail = ivo.get("/v1/audit-trail").json()["entries"]
    assert {"Noor Adler", "Rosa Adler"} <= {each["who"] for each in trail if each["what"] == "signed in"}
    assert [each["who"] for each in trail if each["about"] == f"approve {version}"] == ["Noor Adler"]


def test_who_requests_a_training_is_who_signed_in(hub: HubWithPeople) -> None:
    with hub.signed_in("Rosa") as client:
        refused = client.post("/v1/freeze", json={"requested_by": "Noor"})
        assert (refused.status_code, "who decides is who signed in" in refused.text) == (403, True)
    with hub.signed_in("Ana") as client:
        assert client.post("/v1/freeze", json={}).status_code == 403
    assert not [each for each in hub.running.hub.warehouse.events(TrainingRequested) if getattr(each, "requested_by", None) == "Noor"]


def test_a_recruiter_removed_in_the_middle_of_a_queue_judges_nothing_more_and_loses_nothing(hub: HubWithPeople) -> None:
    warehouse = hub.running.hub.warehouse
    with hub.signed_in("Ben") as client:
        pairs = client.get("/v1/queue", params={"limit": 3}).json()["pairs"]
        assert client.post("/v1/judgments", json={"pair_id": pairs[0]["pair_id"], "choice": "B"}).status_code == 202
        hub.changes.remove("Ben")
        until(lambda: client.get("/v1/queue").status_code == 401, 5)
        rest = [client.post("/v1/judgments", json={"pair_id": each["pair_id"], "choice": "B"}).status_code for each in pairs[1:]]
        assert set(rest) == {401}
        assert client.post("/v1/queue/renew", json={"pair_ids": []}).status_code == 401
        assert client.post("/sign-in", json={"login": "Ben", "password": "correct horse battery"}).status_code == 401

    def by_ben() -> list[Any]:
        return [each for each in warehouse.events(JudgmentGiven) if getattr(each, "recruiter", "") == hub.people["Ben"].recruiter]

    until(by_ben)
    assert len(by_ben()) == 1, "what was accepted stays, and nothing else"
    with hub.signed_in("Ada") as admin:
        until(lambda: "person removed" in admin.get("/v1/audit-trail").text)
        assert "Ben Adler" not in admin.get("/v1/audit-trail").text, "the name is forgotten"
