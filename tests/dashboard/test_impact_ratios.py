"""The hub's impact ratios of recorded outcomes, and the command line through a running hub."""

from datetime import UTC, datetime
from pathlib import Path

from deploy.cli.records import impact_ratios
from storage.events import GroupsRecorded, OutcomeRecorded
from storage.settings import Settings
from tests.dashboard.small_world import RunningHub, wait_until
from trainers.audits.outcomes.tables import OutcomesTable

DAY = datetime(2026, 1, 5, 12, tzinfo=UTC)
PATH = "/v1/fairness/impact-ratios"


def test_recorded_outcomes_become_impact_ratios(hub: RunningHub, tmp_path: Path) -> None:
    for n in range(80):
        person, sex = f"c-{n}", ("female", "male")[n % 2]
        hub.world.publish(
            GroupsRecorded(source="product", candidate=person, groups={"sex": sex}),
            OutcomeRecorded(
                source="product", candidate=person, outcome_id=f"o-{n}", position="nurse", stage="screening", selected=n % 4 != 0,
                decided_at=DAY,
            ),
        )  # fmt: skip
    dates = {"from": "2026-01-05", "to": "2026-01-05"}
    answer = wait_until(lambda: hub.get(PATH, **dates), lambda found: found["applications"] == 80)
    found = OutcomesTable.model_validate_json(hub.client.get(PATH, params=dates).content)
    assert found.model_dump(mode="json") == answer
    (stage,) = found.stages
    assert {row.category: (row.n, row.rate, row.ratio) for row in stage.selection[0].rows} == {
        ("female",): (40, 0.5, 0.5),
        ("male",): (40, 1.0, 1.0),
    }
    assert stage.selection[0].verdict == "failed"
    assert hub.get(PATH, **dates, source="simulation")["applications"] == 0

    port = hub.url.rpartition(":")[2]
    settings = Settings.read(tmp_path, {"FEEDBACKLOOP_HOME": str(tmp_path), "FEEDBACKLOOP_HUB__PORT": port})
    assert impact_ratios(settings, DAY.date(), DAY.date(), ("product",)) == found
    assert not (tmp_path / "warehouse.duckdb").exists()


def test_wrong_dates_are_refused_with_the_field(hub: RunningHub) -> None:
    for dates, said in (
        ({"from": "2026-02-01", "to": "2026-01-01"}, "before from"),
        ({"from": "yesterday", "to": "2026-01-01"}, "from"),
        ({"to": "2026-01-01"}, "from"),
    ):
        answer = hub.client.get(PATH, params=dates)
        assert answer.status_code in (400, 422)
        assert said in answer.json()["error"]["message"]
