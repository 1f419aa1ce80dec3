"""Judgments that cannot go on yet are counted, all of them, and shown by the overview and by ``feedbackloop status``."""

from pathlib import Path

from dashboard.pages import words
from dashboard.pages.overview import waiting
from dashboard.status.readings import Readings, Sources
from deploy.cli.summary import status_as_text
from storage.artifacts import Artifacts
from storage.warehouse.warehouse import Warehouse
from streams.evaluations import RunArtifacts
from tests.storage.facts import Log, apply, features, judgment, pair


def test_waiting_judgments_are_counted_whole_and_shown_on_the_page_and_by_the_command(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        without_pair = [judgment(1, "A", f"r-{number}") for number in range(1_200)]
        apply(warehouse, Log(), pair(2), pair(3), features(3), features(4), judgment(2), judgment(3), judgment(4), *without_pair)
        assert warehouse.waiting == 1_202
        status = Readings(Sources(warehouse, dict, list, 20, RunArtifacts(Artifacts(str(tmp_path / "artifacts"))))).take(1).status
    assert (status.waiting.judgments_without_pair, status.waiting.judgments_without_features) == (1_201, 1)
    assert status.waiting.oldest_seconds is not None
    page = str(waiting(status))
    assert "Judgments whose pair has not arrived" in page
    assert repr(words.count(1_201)) in page
    assert "Longest wait of a judgment" in page
    lines = status_as_text(status.model_dump(mode="json"), {}).splitlines()
    shown = {line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in lines if "judgments without" in line}
    assert shown == {"judgments without pair": "1201", "judgments without features": "1"}
