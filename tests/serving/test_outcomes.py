"""Groups and outcomes sent by products, from the request to the log."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from feedbackloop import Client
from storage.events import GroupsRecorded, OutcomeRecorded, ReplySent, now
from tests.serving.conftest import Server

OUTCOME = {"position": "nurse-17", "stage": "screening", "selected": True}


def post(server: Server, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/outcomes", json=body, headers=headers)


def logged(server: Server) -> dict[str, GroupsRecorded | OutcomeRecorded]:
    events = server.events("candidates.outcomes")
    return {str(event.event_id): event for event in events if isinstance(event, GroupsRecorded | OutcomeRecorded)}


def test_groups_and_an_outcome_are_on_the_log_under_the_pseudonym_of_the_chat(server: Server) -> None:
    person = "applicant 4711"
    with Client(server.url) as client:
        client.chat("hello", user=person, conversation_id="chat-4711", max_tokens=4)
        receipt = client.record_outcome(
            person,
            position="nurse-17",
            stage="screening",
            selected=False,
            score=0.25,
            decided_at=datetime(2026, 1, 5, 9, tzinfo=UTC),
            groups={"sex": "female", "race_ethnicity": "Hispanic or Latino"},
        )
        withdrawn = client.record_groups(person, {})
    events = logged(server)
    groups, outcome = events[str(receipt.groups_event_id)], events[str(receipt.outcome_event_id)]
    assert isinstance(groups, GroupsRecorded)
    assert isinstance(outcome, OutcomeRecorded)
    assert groups.groups == {"sex": "female", "race_ethnicity": "Hispanic or Latino"}
    assert (outcome.position, outcome.stage, outcome.selected, outcome.score) == ("nurse-17", "screening", False, 0.25)
    assert (outcome.decided_at, outcome.outcome_id) == (datetime(2026, 1, 5, 9, tzinfo=UTC), receipt.outcome_id)
    [reply] = [e for e in server.events("chat.replies") if isinstance(e, ReplySent) and e.conversation_id == "chat-4711"]
    assert groups.candidate == outcome.candidate == reply.candidate
    assert person not in outcome.model_dump_json()
    last = events[str(withdrawn.groups_event_id)]
    assert isinstance(last, GroupsRecorded)
    assert last.groups == {}
    assert withdrawn.outcome_id is None


def test_a_repeat_has_the_same_outcome_id_and_another_stage_another(server: Server) -> None:
    first, again, later = (
        post(server, {"candidate": "ana", "outcome": OUTCOME | {"stage": stage}}).json()
        for stage in ("screening", "screening", "interview")
    )
    assert first["outcome_id"] == again["outcome_id"] != later["outcome_id"]
    assert post(server, {"candidate": "ana", "outcome": OUTCOME | {"outcome_id": "application-9"}}).json()["outcome_id"] == "application-9"


def test_a_simulated_outcome_is_marked(server: Server) -> None:
    receipt = post(server, {"candidate": "ana", "groups": {"name_group": "north"}}, **{"X-FeedbackLoop-Source": "simulation"}).json()
    assert logged(server)[receipt["groups_event_id"]].source == "simulation"
    assert receipt["outcome_event_id"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"groups": {"sex": "female"}}, "candidate"),
        ({"candidate": "ana"}, "outcome"),
        ({"candidate": "ana", "groups": {"two words": "female"}}, "groups"),
        ({"candidate": "ana", "groups": {"sex": ""}}, "groups.sex"),
        ({"candidate": "ana", "groups": {f"attribute-{n}": "x" for n in range(21)}}, "groups"),
        ({"candidate": "ana", "outcome": {"position": "nurse", "stage": "screening"}}, "outcome.selected"),
        ({"candidate": "ana", "outcome": OUTCOME | {"selected": "yes"}}, "outcome.selected"),
        ({"candidate": "ana", "outcome": OUTCOME | {"decided_at": "2026-01-05T09:00:00"}}, "outcome.decided_at"),
        ({"candidate": "ana", "outcome": OUTCOME | {"decided_at": (now() + timedelta(days=2)).isoformat()}}, "outcome.decided_at"),
        ({"candidate": "ana", "outcome": OUTCOME | {"rank": 3}}, "outcome.rank"),
    ],
)
def test_a_refusal_names_the_field_and_leaves_nothing_on_the_log(server: Server, body: dict[str, Any], field: str) -> None:
    before = len(logged(server))
    answer = post(server, body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"].startswith(field)
    assert error["message"].startswith(error["param"])
    assert len(logged(server)) == before
