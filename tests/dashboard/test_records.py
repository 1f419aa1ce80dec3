"""Downloads from the hub: the record of a promotion, the judgments of a duel, and the impact ratios as CSV."""

import csv
import io

from storage.attestation.envelope import read_record
from tests.dashboard.small_world import RunningHub
from tests.dashboard.test_duel import WINS, approve, awaiting, roll_back, until
from trainers.audits.duel import DuelEvidence, DuelRule, assess


def test_a_promotion_and_its_duel_can_be_downloaded_and_checked(hub: RunningHub) -> None:
    version = awaiting(hub, "to be downloaded")
    for path in ("record", "duel-evidence", "duel-evidence?stage=canary"):
        answer = hub.client.get(f"/v1/versions/{version}/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert version in answer.json()["error"]["message"]
    approve(hub, version)
    hub.world.duel(version, WINS)
    until(hub, version, "champion")
    answer = hub.client.get(f"/v1/versions/{version}/record")
    assert answer.headers["content-type"] == "application/vnd.in-toto+json"
    assert answer.headers["content-disposition"] == f'attachment; filename="{version}.intoto.json"'
    record = read_record(answer.content)
    keys = {key["keyid"] for key in hub.get("/v1/keys")["keys"]}
    assert (record.statement().evidence.version, set(record.signatures) <= keys) == (version, True)
    evidence = DuelEvidence.model_validate_json(hub.client.get(f"/v1/versions/{version}/duel-evidence").content)
    assert evidence.version == version
    assert assess(evidence.judgments, DuelRule()).outcome == "better"
    history = {each["what"]: each for each in hub.get("/v1/versions")["history"] if each["version"] == version}
    assert history["became champion"]["attested"] is True
    assert history["duel: better"]["evidence"] == "duel"
    assert history["approved"]["attested"] is None
    roll_back(hub)


def test_records_of_an_unknown_version_are_a_404(hub: RunningHub) -> None:
    for path in ("record", "duel-evidence"):
        answer = hub.client.get(f"/v1/versions/v-nothing/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert "v-nothing" in answer.json()["error"]["message"]
    wrong = hub.client.get("/v1/versions/v-nothing/duel-evidence", params={"stage": "other"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "stage")


def test_impact_ratios_are_files_for_auditors(hub: RunningHub) -> None:
    dates = {"from": "2026-01-05", "to": "2026-01-05"}
    for rows, name, first in (("categories", "impact_ratios.csv", "stage"), ("tables", "tables.csv", "stage")):
        answer = hub.client.get("/v1/fairness/impact-ratios.csv", params=dates | {"rows": rows})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert next(csv.reader(io.StringIO(answer.text)))[0] == first
    refused = hub.client.get("/v1/fairness/impact-ratios.csv", params={"from": "2026-02-01", "to": "2026-01-01"})
    assert refused.status_code == 400
    assert "exchange" in refused.json()["error"]["message"]
