"""A clock that jumps cannot promote a version: a duel whose evaluation has no believable age is retired, and the champion stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.artifacts import Artifacts
from storage.events import DuelDecided, ReviewDecided
from storage.texts.texts import PLAIN
from storage.warehouse.warehouse import Warehouse
from streams.stations.duel import next_event
from streams.versions import BASE, Versions, fold, promotions, step, version_name
from tests.streams.examples import accept_all, evaluated, sha
from trainers.audits.duel import DuelRule
from trainers.runs.terms import Terms

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHECKS = accept_all(Terms(DuelRule(expires_days=30)))
VERSION = version_name(sha("one"))


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with Warehouse.open(tmp_path_factory.mktemp("clock") / "warehouse.duckdb") as opened:
        yield opened


def in_its_duel(evaluated_at: datetime) -> Versions:
    review = ReviewDecided(source="product", version=VERSION, decision="approve", reviewer="Grace", reason="clear next steps")
    return fold([evaluated("one", occurred_at=evaluated_at), review], CHECKS)


def decided(versions: Versions, warehouse: Warehouse, folder: Path, now: datetime) -> DuelDecided | None:
    found = next_event(versions, warehouse, Artifacts(str(folder)), PLAIN, lambda version: ("product",), now)
    assert found is None or isinstance(found, DuelDecided)
    return found


@pytest.mark.parametrize("minutes", [-60 * 24 * 29, -1, 0, 59])
def test_an_evaluation_of_a_believable_age_stays_in_its_duel(warehouse: Warehouse, tmp_path: Path, minutes: int) -> None:
    """Clocks of two machines may differ by some minutes."""
    assert decided(in_its_duel(NOW + timedelta(minutes=minutes)), warehouse, tmp_path, NOW) is None


@pytest.mark.parametrize(
    ("evaluated_at", "now", "words"),
    [
        (datetime(2099, 1, 1, tzinfo=UTC), NOW, "dated 2099-01-01 00:00 UTC, after the hub's time"),  # the trainer's clock was ahead
        (NOW, datetime(1970, 1, 1, tzinfo=UTC), "after the hub's time, 1970-01-01 00:00"),  # the hub's clock jumped back
        (datetime(1970, 1, 1, tzinfo=UTC), NOW, "older than 30 days"),  # the trainer's clock was behind
        (NOW, datetime(2099, 1, 1, tzinfo=UTC), "older than 30 days"),  # the hub's clock jumped ahead
    ],
)
def test_an_evaluation_without_a_believable_age_is_retired_and_the_champion_stays(
    warehouse: Warehouse, tmp_path: Path, evaluated_at: datetime, now: datetime, words: str
) -> None:
    versions = in_its_duel(evaluated_at)
    ending = decided(versions, warehouse, tmp_path, now)
    assert ending is not None
    assert (ending.outcome, words in ending.words) == ("expired", True)
    after = step(versions, ending, CHECKS)
    assert (after.champion, after.versions[VERSION].status, promotions(after)) == (BASE, "retired", [])
