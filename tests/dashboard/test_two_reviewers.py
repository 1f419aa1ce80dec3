"""Two reviewers decide about a version at the same moment: one decision holds, the first on the log, and everybody sees which."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import pytest

from storage.events import Event, ReviewDecided
from streams.versions import BASE, Decision, fold, promotions
from tests.dashboard.small_world import RunningHub, wait_until
from tests.streams.examples import accept_all, evaluated, sha
from tests.streams.test_versions import review
from trainers.audits.duel import DuelRule
from trainers.runs.terms import Terms

PROMOTED_WITHIN = 60.0  # seconds; the first promotion imports the signing library
VERSION = f"v-{sha('one')[:12]}"


@pytest.mark.parametrize("first", get_args(Decision))
def test_of_two_decisions_on_the_log_the_first_holds(first: Decision) -> None:
    one, two = review(VERSION, first), review(VERSION, "reject" if first == "approve" else "approve")
    events: list[Event] = [evaluated("one"), one, two]
    state = fold(events, accept_all())
    assert [illegal.event for illegal in state.illegal] == [two]
    assert state.versions[VERSION].reviews == (one,)
    assert state.versions[VERSION].status == ("approved" if first == "approve" else "rejected")
    assert [due.review for due in promotions(state)] == ([one.event_id] if first == "approve" else [])


@pytest.mark.parametrize("first", get_args(Decision))
def test_where_a_duel_follows_a_rejection_ends_it_in_either_order(first: Decision) -> None:
    one, two = review(VERSION, first), review(VERSION, "reject" if first == "approve" else "approve")
    events: list[Event] = [evaluated("one"), one, two]
    state = fold(events, accept_all(Terms(DuelRule())))
    assert (state.versions[VERSION].status, state.champion, promotions(state)) == ("rejected", BASE, [])


def test_two_requests_at_once_give_one_decision_that_the_history_shows(hub: RunningHub) -> None:
    version = hub.world.evaluate(hub.world.request(1), "two reviewers")
    hub.wait_for(lambda status: version in status["awaiting_review"])
    together = threading.Barrier(2)

    def decide(decision: str) -> int:
        body = {"decision": decision, "reviewer": f"Noor, who would {decision}", "reason": "I have read the replies."}
        together.wait(10)
        return hub.client.post(f"/v1/versions/{version}/review", json=body).status_code

    with ThreadPoolExecutor(2) as people:
        answers = list(people.map(decide, ("approve", "reject")))
    assert 202 in answers
    assert set(answers) <= {202, 409}  # 409 where the other decision had already been read back

    def reviews() -> list[dict[str, Any]]:
        return [
            each
            for each in hub.get("/v1/versions")["history"]
            if each["version"] == version and each["what"].endswith(("approved", "rejected"))
        ]

    shown = wait_until(reviews, lambda found: len(found) == answers.count(202), PROMOTED_WITHIN)
    assert [each["legal"] for each in shown].count(True) == 1
    on_the_log = [event for event in hub.hub.warehouse.events(ReviewDecided) if getattr(event, "version", "") == version]
    first = on_the_log[0]
    assert isinstance(first, ReviewDecided)
    expected = "champion" if first.decision == "approve" else "rejected"
    wait_until(
        lambda: {each["version"]: each["status"] for each in hub.get("/v1/versions")["versions"]}[version], expected.__eq__, PROMOTED_WITHIN
    )
