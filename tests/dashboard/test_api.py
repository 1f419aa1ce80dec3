"""The hub's HTTP API, on a running hub with a real bus and a real warehouse."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dashboard.status.integrity import IntegrityReadings
from dashboard.status.readings import Readings, Sources
from storage.artifacts import Artifacts
from storage.events import Response, TrainingRequested
from storage.warehouse.warehouse import Warehouse
from streams.evaluations import RunArtifacts
from streams.integrity import Given, Verdict, verdicts
from streams.pseudonyms import pseudonym, pseudonym_key
from streams.stations.sink import Sink
from tests.dashboard.small_world import RunningHub, running_hub, wait_until
from tests.storage import facts
from tests.streams.examples import evaluated


def requested(k: int, through: int) -> TrainingRequested:
    return TrainingRequested(
        run_id=uuid4(), method="dpo", threshold="count", k=k, through_sequence=through, sources=("simulation",), source="simulation"
    )


@pytest.fixture(scope="module", autouse=True)
def _filled(hub: RunningHub) -> None:
    hub.world.chat(12)
    hub.world.judge(4)
    hub.wait_for(lambda status: (status["counts"]["preferences"], status["counts"]["replies"], status["waiting"]["to_rate"]) == (4, 12, 8))


def test_the_status_counts_every_station(hub: RunningHub) -> None:
    status = hub.get("/v1/status")
    assert status["counts"]["replies"] == 12
    assert status["counts"]["pairs"] == status["counts"]["embedded"] == 12
    assert status["waiting"]["to_rate"] == 8
    assert status["simulated"]
    assert status["champion"]["version"] == "base"
    assert status["health"] == {"ready": True, "problems": []}


def test_a_judgment_accepted_is_visible_with_its_own_clock(hub: RunningHub) -> None:
    pair = hub.get("/v1/queue", recruiter="Noor", limit=1)["pairs"][0]
    answer = hub.client.post("/v1/judgments", json={"pair_id": pair["pair_id"], "recruiter": "Noor", "choice": "tie"})
    assert answer.status_code == 202
    seen = hub.wait_for(lambda status: status["newest"]["judgment"]["id"] == answer.json()["event_id"])
    assert seen["newest"]["judgment"]["occurred_at"][:19] == answer.json()["occurred_at"][:19]


def test_a_pair_is_leased_to_one_recruiter_and_never_comes_back_once_judged(hub: RunningHub) -> None:
    first = {pair["pair_id"] for pair in hub.get("/v1/queue", recruiter="Ada", limit=3)["pairs"]}
    second = {pair["pair_id"] for pair in hub.get("/v1/queue", recruiter="Ben", limit=3)["pairs"]}
    assert len(first) == len(second) == 3
    assert not first & second
    assert {pair["pair_id"] for pair in hub.get("/v1/queue", recruiter="Ada", limit=3)["pairs"]} == first
    judged = min(first)
    hub.client.post("/v1/judgments", json={"pair_id": judged, "recruiter": "Ada", "choice": "skip"})
    assert judged not in {pair["pair_id"] for pair in hub.get("/v1/queue", recruiter="Ada", limit=50)["pairs"]}


def test_a_page_renews_its_leases_and_simulated_recruiters_yield_to_it(hub: RunningHub) -> None:
    simulation = {"X-FeedbackLoop-Source": "simulation"}
    everything = hub.client.get("/v1/queue", params={"recruiter": "Simulated", "limit": 50}, headers=simulation).json()["pairs"]
    given = {pair["pair_id"] for pair in everything}
    wait_until(
        lambda: hub.get("/v1/queue", recruiter="Dana", limit=50)["pairs"], lambda pairs: given <= {pair["pair_id"] for pair in pairs}
    )
    answer = hub.get("/v1/queue", recruiter="Dana", limit=50)
    held = [pair["pair_id"] for pair in answer["pairs"]]
    assert answer["waiting"] == hub.get("/v1/status")["waiting"]["to_rate"] - answer["passed"]
    renewed = hub.client.post("/v1/queue/renew", json={"recruiter": "Dana", "pair_ids": held}).json()
    assert renewed == {"held": held, "judged": [], "waiting": answer["waiting"], "passed": answer["passed"]}
    lost = hub.client.post("/v1/queue/renew", json={"recruiter": "Simulated", "pair_ids": held}, headers=simulation).json()
    assert (lost["held"], lost["judged"]) == ([], [])
    assert hub.client.post("/v1/queue/release", json={"recruiter": "Dana", "pair_ids": held}).status_code == 204
    again = hub.client.get("/v1/queue", params={"recruiter": "Simulated", "limit": 50}, headers=simulation).json()["pairs"]
    assert {pair["pair_id"] for pair in again} == set(held)
    hub.client.post("/v1/queue/release", json={"recruiter": "Simulated", "pair_ids": held}, headers=simulation)


def test_a_queued_pair_does_not_reveal_which_version_wrote_a_reply(hub: RunningHub) -> None:
    (pair,) = hub.get("/v1/queue", recruiter="Cleo", limit=1)["pairs"]
    assert set(pair) == {"pair_id", "conversation_id", "prompt", "a", "b", "shown_first", "stratum", "source"}
    assert pair["prompt"][0]["role"] == "system"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/judgments", {"pair_id": "no-uuid", "recruiter": "Noor", "choice": "A"}, "pair_id"),
        ("POST", "/v1/judgments", {"pair_id": str(uuid4()), "recruiter": "Noor", "choice": "C"}, "choice"),
        ("POST", "/v1/judgments", {"pair_id": str(uuid4()), "recruiter": "", "choice": "A"}, "recruiter"),
        ("POST", "/v1/judgments", {"pair_id": str(uuid4()), "recruiter": "Noor", "choice": "A", "strength": 9}, "strength"),
        ("POST", "/v1/judgments", {"pair_id": str(uuid4()), "recruiter": "Noor", "choice": "A", "colour": "red"}, "colour"),
        ("GET", "/v1/queue", None, "recruiter"),
        ("GET", "/v1/queue?recruiter=Noor&limit=0", None, "limit"),
        ("POST", "/v1/queue/renew", {"recruiter": "", "pair_ids": []}, "recruiter"),
        ("POST", "/v1/queue/renew", {"recruiter": "Noor", "pair_ids": ["no-uuid"]}, "pair_ids.0"),
        ("POST", "/v1/queue/renew", {"recruiter": "Noor", "pair_ids": [str(uuid4())] * 51}, "pair_ids"),
        ("POST", "/v1/rollback", {"reviewer": " ", "reason": "because"}, "reviewer"),
    ],
)
def test_invalid_input_is_refused_with_the_name_of_the_field(hub: RunningHub, method: str, path: str, body: object, field: str) -> None:
    answer = hub.client.request(method, path, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", field, "invalid_value")


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"[1]", b""])
def test_a_body_that_is_no_object_is_a_400_and_not_a_traceback(hub: RunningHub, raw: bytes) -> None:
    answer = hub.client.post("/v1/judgments", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "message" in answer.json()["error"]


def test_an_unknown_address_under_v1_is_json_and_another_one_is_a_page(hub: RunningHub) -> None:
    assert hub.client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert "text/html" in hub.client.get("/promotions/v-000000000000").headers["content-type"]


def test_a_version_with_a_failed_gate_is_refused_with_its_reasons_and_one_that_passed_becomes_champion(hub: RunningHub) -> None:
    failed = hub.world.evaluate(hub.world.request(1), "a" * 64, facts="failed", names="insufficient")
    passed = hub.world.evaluate(hub.world.request(2), "b" * 64)
    hub.wait_for(lambda status: status["awaiting_review"] == [passed])
    review = {"decision": "approve", "reviewer": "Noor", "reason": "Clear next steps."}

    assert hub.client.post("/v1/versions/v-unknown/review", json=review).status_code == 404
    refused = hub.client.post(f"/v1/versions/{failed}/review", json=review)
    assert refused.status_code == 409
    assert [reason.split(":")[0] for reason in refused.json()["error"]["reasons"]] == ["facts", "name_contrast"]
    for field in review:
        without = hub.client.post(f"/v1/versions/{passed}/review", json={name: text for name, text in review.items() if name != field})
        empty = hub.client.post(f"/v1/versions/{passed}/review", json=review | {field: ""})
        assert (without.status_code, empty.status_code) == (400, 400)
        assert without.json()["error"]["param"] == empty.json()["error"]["param"] == field
    assert hub.get("/v1/versions")["champion"] == "base"

    assert hub.client.post(f"/v1/versions/{passed}/review", json=review).status_code == 202
    hub.wait_for(lambda status: status["champion"]["version"] == passed)
    versions = hub.get("/v1/versions")
    assert {each["version"]: each["status"] for each in versions["versions"]} == {failed: "rejected", passed: "champion"}
    assert hub.client.post(f"/v1/versions/{passed}/review", json=review).status_code == 409
    assert hub.get(f"/v1/versions/{passed}/report")["version"] == passed

    assert hub.client.post("/v1/rollback", json={"reviewer": "Noor", "reason": "Too terse."}).status_code == 202
    hub.wait_for(lambda status: status["champion"]["version"] == "base")
    assert hub.client.post("/v1/rollback", json={"reviewer": "Noor", "reason": "Again."}).status_code == 409


def test_a_version_whose_policy_is_missing_or_damaged_cannot_be_approved(hub: RunningHub) -> None:
    version = hub.world.evaluate(hub.world.request(4), "weights that will be lost")
    hub.wait_for(lambda status: version in status["awaiting_review"])
    store = Artifacts(hub.world.settings.common.artifacts_url)
    policy = next(each["policy"] for each in hub.get("/v1/versions")["versions"] if each["version"] == version)
    review = {"decision": "approve", "reviewer": "Noor", "reason": "Clear next steps."}
    store.get(policy).write_bytes(b"other weights")
    refused = hub.client.post(f"/v1/versions/{version}/review", json=review)
    assert refused.status_code == 409
    assert "cannot be served" in refused.json()["error"]["message"]
    assert hub.client.post(f"/v1/versions/{version}/review", json=review | {"decision": "reject"}).status_code == 202


def test_the_live_feed_sends_the_status_at_once_and_after_a_commit(hub: RunningHub) -> None:
    with hub.client.stream("GET", "/v1/live", timeout=10) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = (json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: "))
        before = next(lines)
        hub.world.chat(1)
        after = next(status for status in lines if status["counts"]["replies"] > before["counts"]["replies"])
    assert after["revision"] > before["revision"]


def test_runs_are_listed_with_their_progress(hub: RunningHub) -> None:
    request = hub.world.request(3)
    hub.world.train(request, 40)
    run, *_ = wait_until(lambda: hub.get("/v1/runs")["runs"], lambda runs: bool(runs) and runs[0]["step"] == 40)
    assert (run["state"], run["stage"], run["steps"], run["trainer"]) == ("training", "train", 120, "trainer-1")
    assert "reward_margin" in run["history"][-1]["metrics"]
    hub.world.fail(request, "too few rows")
    run = wait_until(lambda: hub.get("/v1/runs")["runs"][0], lambda run: run["state"] == "failed")
    assert run["reason"] == "too few rows"


def test_a_judgment_whose_pair_has_not_arrived_is_accepted_and_shown_as_waiting(hub: RunningHub) -> None:
    early = {"pair_id": str(uuid4()), "recruiter": "Noor", "choice": "A"}
    assert hub.client.post("/v1/judgments", json=early).status_code == 202
    status = hub.wait_for(lambda status: status["waiting"]["judgments_without_pair"] == 1)
    assert status["waiting"]["oldest_seconds"] >= 0


def test_ratings_are_exported_in_trls_unpaired_columns(hub: RunningHub) -> None:
    pair = hub.get("/v1/queue", recruiter="Eve", limit=1)["pairs"][0]
    hub.client.post("/v1/judgments", json={"pair_id": pair["pair_id"], "recruiter": "Eve", "choice": "neither"})

    def exported() -> list[dict[str, Any]]:
        return [json.loads(line) for line in hub.client.get("/v1/export/ratings").text.splitlines()]

    rows = wait_until(exported, lambda rows: len(rows) == 2)
    assert [row["completion"] for row in rows] == [[{"role": "assistant", "content": pair[side]}] for side in ("a", "b")]
    assert all(row["label"] is False and row["conversation_id"] == pair["conversation_id"] for row in rows)
    assert hub.client.get("/v1/export/ratings", params={"source": "import"}).text == ""
    assert hub.client.get("/v1/export/comments").text == ""


def test_export_gives_trl_columns_and_leaves_ties_out(hub: RunningHub) -> None:
    rows = [json.loads(line) for line in hub.client.get("/v1/export").text.splitlines()]
    assert rows
    assert all(row["chosen"][0]["role"] == "assistant" and row["chosen"] != row["rejected"] for row in rows)
    assert hub.client.get("/v1/export", params={"source": "import"}).text == ""
    assert hub.client.get("/v1/export", params={"format": "parquet"}).content[:4] == b"PAR1"


def test_incremental_counts_equal_those_of_the_warehouse(hub: RunningHub) -> None:
    status = hub.wait_for(lambda status: sum(status["lag"].values()) == 0)
    rows = {row["station"]: row["n"] for row in hub.hub.warehouse.query("counts").to_pylist()}
    counted = {name: n for name, n in status["counts"].items() if name in rows}
    assert len(counted) == 10
    assert counted == {name: rows[name] for name in counted}
    assert status["counts"]["runs"] == rows["requested"]
    sources = Sources(hub.hub.warehouse, dict, list, 200, RunArtifacts(Artifacts(hub.world.settings.common.artifacts_url)))
    assert Readings(sources).take(1).status.counts.model_dump() == status["counts"]


def test_log_and_warehouse_agree(hub: RunningHub) -> None:
    found = hub.get("/v1/verify")
    assert found["checked"] > 30
    assert not found.keys() & {"missing", "doubled", "altered", "unknown", "offset", "preference", "derived"}, found
    assert all(words.startswith(("snapshot of run", "policy of")) for words in found["artifact"]), "which this world only names, or spoilt"
    assert any("nobody has signed them" in words for words in found["not_covered"])


def test_a_person_can_request_a_run(hub: RunningHub) -> None:
    run_id = hub.client.post("/v1/freeze", json={}).json()["run_id"]
    wait_until(
        lambda: hub.get("/v1/runs")["runs"], lambda runs: any(run["run_id"] == run_id and run["threshold"] == "manual" for run in runs)
    )


def test_of_requests_that_wait_one_is_pending_and_older_ones_are_shown_as_overtaken(hub: RunningHub) -> None:
    hub.world.request(9, through=10_000)  # an open run, so that new requests stay pending
    asked = [requested(k, through=10_000 + k) for k in (10, 11)]
    hub.world.publish(*asked)
    states = wait_until(
        lambda: {run["run_id"]: run["state"] for run in hub.get("/v1/runs")["runs"]}, lambda states: str(asked[1].run_id) in states
    )
    assert [states[str(request.run_id)] for request in asked] == ["overtaken", "requested"]
    refused = hub.client.post("/v1/freeze", json={})
    assert refused.status_code == 409
    assert str(asked[1].run_id) in refused.json()["error"]["message"]


def test_a_forged_evaluation_does_not_await_review_and_is_listed_with_the_reason(hub: RunningHub) -> None:
    forged = evaluated("random weights", report=Artifacts(hub.world.settings.common.artifacts_url).put_bytes(b'{"forged": true}'))
    hub.world.publish(forged)
    wait_until(lambda: hub.get("/v1/versions")["history"], lambda history: any(each["version"] == forged.version for each in history))
    versions = hub.get("/v1/versions")
    (passage,) = [each for each in versions["history"] if each["version"] == forged.version]
    assert not passage["legal"]
    assert "was never asked for" in passage["reason"]
    assert forged.version not in {each["version"] for each in versions["versions"]}
    review = {"decision": "approve", "reviewer": "Noor", "reason": "Clear next steps."}
    assert hub.client.post(f"/v1/versions/{forged.version}/review", json=review).status_code == 404


@pytest.mark.processes
def test_a_hub_that_another_one_has_deposed_is_not_ready_and_says_so(tmp_path: Path) -> None:
    with running_hub(tmp_path / "first") as first, Warehouse.open(tmp_path / "second.duckdb") as warehouse:
        Sink(first.world.bus, warehouse, "second").start()
        first.world.chat(1)
        ready = wait_until(lambda: first.client.get("/readyz"), lambda answer: answer.status_code == 503)
        assert "hub 'second' has claimed epoch 2" in ready.json()["reasons"]["sink"]
        first.wait_for(lambda status: any("has claimed epoch 2" in problem for problem in status["health"]["problems"]))


def test_who_wrote_a_response_may_not_judge_it_and_odd_judgments_are_shown(hub: RunningHub) -> None:
    ada = pseudonym(pseudonym_key(hub.world.settings.common), "recruiter", "Ada")
    written = facts.pair(900, b=Response(text="As I would say it.", version=ada))
    hub.world.publish(written)
    wait_until(lambda: hub.hub.warehouse.query("pair", {"pair_id": str(written.pair_id)}).num_rows, bool)
    body = {"pair_id": str(written.pair_id), "recruiter": "ada", "choice": "B"}
    answer = hub.client.post("/v1/judgments", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert hub.client.post("/v1/judgments", json=body | {"choice": "skip"}).status_code == 202
    unknown = {"pair_id": str(uuid4()), "recruiter": "Ada", "choice": "A"}
    assert hub.client.post("/v1/judgments", json=unknown).status_code == 202
    odd = wait_until(lambda: [each for each in hub.get("/v1/integrity")["odd"] if each["pair_id"] == unknown["pair_id"]], bool)
    assert [(each["state"], each["unchecked"]) for each in odd] == [("unchecked", ["pair unknown", "order unknown"])]
    found = hub.get("/v1/integrity")
    assert sum(each["fine"] + each["flagged"] + each["unchecked"] for each in found["recruiters"]) == found["checked"]


def test_votes_are_checked_once_until_something_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[int] = []

    def counted(judgments: Sequence[Given]) -> list[Verdict]:
        times.append(len(judgments))
        return verdicts(judgments)

    monkeypatch.setattr("dashboard.status.integrity.verdicts", counted)
    log = facts.Log()
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        facts.apply(warehouse, log, facts.pair(1), facts.judgment(1))
        readings = IntegrityReadings(warehouse)
        assert [readings.take().checked for _ in range(3)] == [1, 1, 1]
        facts.apply(warehouse, log, facts.judgment(2))
        assert [readings.take().checked for _ in range(2)] == [2, 2]
    assert times == [1, 2]
