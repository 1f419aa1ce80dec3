"""From approval to champion through the hub's API: the duel, its endings, and what happens beside it."""

from typing import Any

from storage.artifacts import Artifacts
from storage.events import CanaryStarted, DuelDecided, ModelPromoted, ReviewDecided
from streams.attestation.verify import verify
from tests.dashboard.small_world import INVENTED, RunningHub, wait_until
from trainers.audits.duel import DuelRule

WINS = [1.0, 1.0, 0.5, 1.0, 0.0] * 12  # 60 judgments, win rate 0.7
REVIEW = {"decision": "approve", "reviewer": "Noor", "reason": "Clear next steps."}
counter = iter(range(10, 1000))


def sections(**rule: Any) -> dict[str, Any]:
    return INVENTED | {"duel": DuelRule(**rule).model_dump(mode="json")}


def awaiting(hub: RunningHub, policy: str, requested_by: str | None = None, **more: Any) -> str:
    """A version that awaits review, with the terms of its run; the champion is the base model."""
    version = hub.world.evaluate(hub.world.request(next(counter), sections=sections() | more, requested_by=requested_by), policy)
    hub.wait_for(lambda status: version in status["awaiting_review"])
    return version


def approve(hub: RunningHub, version: str) -> None:
    answer = hub.client.post(f"/v1/versions/{version}/review", json=REVIEW)
    assert answer.status_code == 202, answer.text


def until(hub: RunningHub, version: str, status: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        return next(each for each in hub.get("/v1/versions")["versions"] if each["version"] == version)

    return wait_until(look, lambda found: found["status"] == status)


def roll_back(hub: RunningHub) -> None:
    assert hub.client.post("/v1/rollback", json={"reviewer": "Noor", "reason": "Back to the start."}).status_code == 202
    hub.wait_for(lambda status: status["champion"]["version"] == "base")


def test_an_approved_version_becomes_champion_by_recruiters_judgments_only(hub: RunningHub) -> None:
    version = awaiting(hub, "wins its duel")
    approve(hub, version)
    until(hub, version, "duel")
    assert hub.get("/v1/status")["champion"]["version"] == "base"
    hub.world.duel(version, WINS[:10])
    shown = wait_until(lambda: hub.get("/v1/duel")["duel"], lambda duel: duel["state"]["judgments"] == 10)
    assert (shown["version"], shown["status"], shown["state"]["outcome"]) == (version, "duel", None)
    hub.world.duel(version, WINS)
    until(hub, version, "champion")
    history = hub.get("/v1/versions")["history"]
    assert [each["what"] for each in history[:3]] == ["became champion", "duel: better", "approved"]
    artifacts = Artifacts(hub.world.settings.common.artifacts_url)
    (promoted,) = [each for each in hub.hub.warehouse.events(ModelPromoted) if isinstance(each, ModelPromoted) and each.version == version]
    keys = {key.keyid: key for key in hub.hub.streams.attestor.keys.published()}
    checks = verify(artifacts.read(promoted.record or ""), artifacts, keys).checks
    assert [(check.outcome, check.words[:16]) for check in checks if check.what == "duel"] == [("passed", "decided again by")]
    found = hub.get("/v1/verify")
    assert [words for words in found.get("derived", []) + found.get("artifact", []) if version in words] == []
    roll_back(hub)


def test_a_version_that_recruiters_do_not_prefer_is_retired_and_the_champion_stays(hub: RunningHub) -> None:
    version = awaiting(hub, "loses its duel")
    approve(hub, version)
    hub.world.duel(version, [0.0, 0.0, 0.5, 1.0] * 40)
    until(hub, version, "retired")
    ending = hub.get("/v1/duel")["duel"]["endings"][0]
    assert (ending["stage"], ending["outcome"]) == ("duel", "futile")
    assert hub.get("/v1/status")["champion"]["version"] == "base"


def test_one_recruiter_alone_cannot_decide_a_duel(hub: RunningHub) -> None:
    version = awaiting(hub, "flooded")
    approve(hub, version)
    hub.world.duel(version, [1.0] * 200, recruiters=1)
    shown = wait_until(lambda: hub.get("/v1/duel")["duel"], lambda duel: duel["version"] == version and duel["state"]["judgments"] == 200)
    assert (shown["state"]["counted"], shown["state"]["outcome"]) == (5, None)
    withdraw = hub.client.post(f"/v1/versions/{version}/review", json=REVIEW | {"decision": "reject"})
    assert withdraw.status_code == 202
    until(hub, version, "rejected")


def test_only_one_version_duels_at_a_time_and_an_approval_counts_once(hub: RunningHub) -> None:
    first, second = awaiting(hub, "first of two"), awaiting(hub, "second of two")
    approve(hub, first)
    until(hub, first, "duel")
    refused = hub.client.post(f"/v1/versions/{second}/review", json=REVIEW)
    assert (refused.status_code, first in refused.text) == (409, True)
    assert hub.client.post(f"/v1/versions/{first}/review", json=REVIEW).status_code == 409
    for version in (first, second):
        assert hub.client.post(f"/v1/versions/{version}/review", json=REVIEW | {"decision": "reject"}).status_code == 202
        until(hub, version, "rejected")


def test_a_decision_without_evidence_or_with_other_evidence_changes_nothing(hub: RunningHub) -> None:
    version = awaiting(hub, "forged")
    approve(hub, version)
    shown = until(hub, version, "duel")
    (approved,) = [each.event_id for each in hub.hub.warehouse.events(ReviewDecided) if getattr(each, "version", "") == version]
    forged: dict[str, Any] = {
        "source": "product",
        "version": version,
        "review": approved,
        "champion": shown["champion"],
        "stage": "duel",
        "outcome": "better",
        "through_sequence": 7,
        "words": "It won.",
    }
    hub.world.publish(DuelDecided(evidence=None, **forged), DuelDecided(evidence="9" * 64, **forged))
    hub.world.publish(ModelPromoted(source="product", version=version, review=approved))
    reasons = wait_until(lambda: illegal(hub, version), lambda found: len(found) >= 3)
    assert any("names no evidence" in reason for reason in reasons)
    assert any("cannot be read" in reason for reason in reasons)
    assert any("only an approved version becomes champion" in reason for reason in reasons)
    until(hub, version, "duel")
    hub.client.post(f"/v1/versions/{version}/review", json=REVIEW | {"decision": "reject"})
    until(hub, version, "rejected")


def illegal(hub: RunningHub, version: str) -> list[str]:
    return [each["reason"] for each in hub.get("/v1/versions")["history"] if each["version"] == version and not each["legal"]]


def test_a_rollback_ends_a_duel_with_the_champion_that_it_removes(hub: RunningHub) -> None:
    champion = awaiting(hub, "champion for a while", duel=DuelRule(required=False).model_dump(mode="json"))
    approve(hub, champion)
    until(hub, champion, "champion")
    request = hub.world.request(next(counter), sections=sections(), champion=champion)
    version = hub.world.evaluate(request, "duels with it", champion=champion)
    hub.wait_for(lambda status: version in status["awaiting_review"])
    approve(hub, version)
    until(hub, version, "duel")
    roll_back(hub)
    until(hub, version, "retired")
    ending = wait_until(lambda: hub.get("/v1/duel")["duel"], lambda duel: duel["version"] == version and duel["endings"])["endings"][0]
    assert (ending["outcome"], ending["evidence"]) == ("expired", None)


def test_whoever_requested_a_run_may_not_approve_its_version_where_four_eyes_are_set(hub: RunningHub) -> None:
    version = awaiting(hub, "four eyes", requested_by="noor ", review={"four_eyes": True})
    refused = hub.client.post(f"/v1/versions/{version}/review", json=REVIEW)
    assert (refused.status_code, "four eyes" in refused.text) == (409, True)
    assert hub.client.post(f"/v1/versions/{version}/review", json=REVIEW | {"reviewer": "Ada"}).status_code == 202
    until(hub, version, "duel")
    hub.client.post(f"/v1/versions/{version}/review", json=REVIEW | {"decision": "reject"})
    until(hub, version, "rejected")


def test_a_canary_grows_step_by_step_and_ends_in_a_promotion(hub: RunningHub) -> None:
    version = awaiting(hub, "canary", duel=DuelRule(canary=(0.1, 0.5), canary_judgments=20).model_dump(mode="json"))
    approve(hub, version)
    hub.world.duel(version, WINS)
    until(hub, version, "canary")
    assert hub.get("/v1/duel")["duel"]["share"] == 0.1
    hub.world.duel(version, WINS[:20], drawn="canary")
    wait_until(lambda: hub.get("/v1/duel")["duel"]["share"], lambda share: share == 0.5)
    hub.world.duel(version, WINS[:20], drawn="canary")
    until(hub, version, "champion")
    steps = [event.step for event in hub.hub.warehouse.events(CanaryStarted) if isinstance(event, CanaryStarted)]
    assert steps == [0, 1]
    roll_back(hub)


def test_an_alarm_in_the_canary_stops_it_and_the_champion_stays(hub: RunningHub) -> None:
    version = awaiting(hub, "canary with an alarm", duel=DuelRule(canary=(0.1,), canary_judgments=100).model_dump(mode="json"))
    approve(hub, version)
    hub.world.duel(version, WINS)
    until(hub, version, "canary")
    hub.world.duel(version, [0.0, 0.0, 0.5, 0.0] * 12, drawn="canary")
    until(hub, version, "retired")
    ending = hub.get("/v1/duel")["duel"]["endings"][-1]
    assert (ending["stage"], ending["outcome"]) == ("canary", "futile")
    assert hub.get("/v1/status")["champion"]["version"] == "base"
