"""What the hub says of the reward model: the report on the newest checkpoint, and silence where there is none."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from dashboard.pages.reward import _ranking, _saved
from dashboard.status.reward import RewardReading, RewardReadings
from dashboard.status.serving_version import Ranker
from storage.warehouse.warehouse import Warehouse
from streams.asking import AskingSettings
from tests.dashboard.learnt_head import learnt_head, save_as_the_learner
from tests.dashboard.small_world import RunningHub, wait_until
from trainers.reward.head_report import head_report
from trainers.reward.labels_saved import LabelsSaved
from trainers.reward.mixing import MixingSettings
from trainers.reward.online.head import Head, new_head


@pytest.fixture(scope="module")
def head() -> Head:
    return learnt_head()


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        yield warehouse


def test_the_hub_reports_on_the_learners_checkpoint(hub: RunningHub, head: Head) -> None:
    nothing = hub.client.get("/v1/reward")
    assert (nothing.status_code, "nothing has been learnt yet" in nothing.text) == (404, True)
    assert hub.client.get("/v1/reward/labels").status_code == 404
    save_as_the_learner(hub, head)
    wait_until(lambda: hub.client.get("/v1/reward").status_code, lambda code: code == 200)
    reading = RewardReading.model_validate_json(hub.client.get("/v1/reward").content)
    assert reading.head == head_report(head)
    assert [(each.objective, each.weight, each.judgments > 0, each.spread is None) for each in reading.objectives] == [
        ("helpful", 0.4, True, True),
        ("safe", 0.3, False, True),
        ("factual", 0.2, False, True),
        ("engaging", 0.1, False, True),
    ]
    assert reading.not_mixed is not None
    assert "nobody has judged 'safe' yet" in reading.not_mixed
    assert hub.client.get("/v1/reward/labels").json() == asdict(LabelsSaved(0, 0, 0))


def test_pairs_are_ranked_with_the_same_checkpoint(hub: RunningHub, head: Head) -> None:
    save_as_the_learner(hub, head)
    hub.world.chat(40)
    hub.wait_for(lambda status: status["waiting"]["to_rate"] == 40)
    assert hub.hub.ranking.share == AskingSettings().informative_share > 0
    ranked = {str(pair.pair_id) for pair in hub.world.pairs if pair.arm == "informative" and pair.stratum == "training"}
    wait_until(lambda: set(hub.hub.ranking.newest()), lambda found: found == ranked)


def test_a_reading_is_made_again_only_when_more_was_learnt_and_half_a_minute_has_passed(warehouse: Warehouse, head: Head) -> None:
    now, asked = [0.0], []

    def newest() -> Head:
        asked.append(now[0])
        return learnt_head(60) if now[0] < 40 else head

    readings = RewardReadings(warehouse, newest, MixingSettings(), clock=lambda: now[0])
    first = readings.take()
    assert first is not None
    now[0] = 29
    assert readings.take() is first
    now[0] = 31
    assert readings.take() is first  # nothing new was learnt
    now[0] = 70
    later = readings.take()
    assert later is not None
    assert (later.head.sequence, asked) == (head.sequence, [0, 31, 70])


def test_the_judgments_saved_are_computed_again_after_ten_minutes(warehouse: Warehouse, head: Head) -> None:
    now, asked = [0.0], []

    def newest() -> Head:
        asked.append(now[0])
        return head

    readings = RewardReadings(warehouse, newest, MixingSettings(), clock=lambda: now[0])
    for now[0] in (0.0, 599.0, 601.0):
        assert readings.labels_saved() == LabelsSaved(0, 0, 0)
    assert asked == [0, 601]


def test_a_head_that_has_learnt_nothing_has_no_reading(warehouse: Warehouse, head: Head) -> None:
    empty = new_head(head.settings, head.embedding_hash, head.dimension, head.sources)
    for newest in (None, empty):
        readings = RewardReadings(warehouse, lambda newest=newest: newest, MixingSettings())  # type: ignore[misc]
        assert (readings.take(), readings.labels_saved()) == (None, None)


@pytest.mark.parametrize(
    ("ranker", "said"),
    [
        (None, "does not say"),
        (Ranker(status="ready", kind="ensemble", best_of=4), "the best of 4 replies is sent"),
        (Ranker(status="loading"), "Serving ranks nothing: "),
        (Ranker(status="off", reason="the reward model may not rank: tricks"), "the reward model may not rank: tricks"),
    ],
)
def test_the_page_says_what_ranks_today(ranker: Ranker | None, said: str) -> None:
    assert said in str(_ranking(ranker))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            LabelsSaved(50, 90, 70, 0.7, 0.5, 0.9),
            "0.70 informative judgments teach as much as one uniform judgment (95% interval 0.50 to 0.90)",
        ),
        (LabelsSaved(50, 90, 70, 0.7, 0.5, None), "(95% interval 0.50 or more)"),
        (LabelsSaved(50, 90, 70, at_least=1.8), "saves nothing here: more than 1.80"),
        (LabelsSaved(5, 9, 7), "it takes 40 judgments of each kind and 50 decisive ones of the evaluation stratum; there are 7."),
    ],
)
def test_what_asking_saves_is_said_with_its_interval(labels: LabelsSaved, said: str) -> None:
    assert said in str(_saved(labels).to_plotly_json())
