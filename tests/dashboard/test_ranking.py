"""The ranking of open pairs by what their answers would tell: only pairs that may be asked so, the best first."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dashboard.actions.ranking import Ranking
from dashboard.status.backlog import Outstanding
from storage.events import pack, unpack
from storage.warehouse.warehouse import Warehouse
from streams.asking import AskingSettings
from tests.storage import facts
from tests.trainers.preferences import EMBEDDING, drawn
from trainers.reward.asking import most_informative
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head
from trainers.reward.online.settings import HeadSettings

D = 6


@pytest.fixture(scope="module")
def head() -> Head:
    return learn_all(new_head(HeadSettings(), EMBEDDING, D, ("product",)), drawn(40, D, seed=2))


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """Pairs 1 to 9: the fourth is uniform, the fifth of the evaluation stratum, the sixth embedded otherwise, the seventh judged."""
    rng = np.random.default_rng(1)
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        about = {4: {"arm": "uniform"}, 5: {"stratum": "evaluation"}}
        pairs = [facts.pair(n, **{"arm": "informative", "stratum": "training"} | about.get(n, {})) for n in range(1, 10)]
        embedded = [
            facts.features(n, embedding_hash="f" * 64 if n == 6 else EMBEDDING, **{side: pack(rng.normal(size=D)) for side in "ab"})
            for n in range(1, 10)
        ]
        facts.apply(warehouse, facts.Log(), *pairs, *embedded, facts.judgment(7))
        yield warehouse


def test_pairs_that_tell_most_come_first(warehouse: Warehouse, head: Head) -> None:
    ranking = Ranking(warehouse, Outstanding(warehouse, 1), lambda: head, AskingSettings())
    assert ranking.newest() == []
    ranking.refresh()
    open_ones = [str(facts.id_of("pair", n)) for n in (9, 8, 3, 2, 1)]
    assert set(ranking.newest()) == set(open_ones)
    asked = {"embedding_hash": EMBEDDING, "opinions": 1, "limit": 10, "window": 100}
    stored = warehouse.query("pairs_to_rank", asked).to_pylist()
    assert [row["pair_id"] for row in stored] == open_ones
    differences = np.array([unpack(row["a"]) - unpack(row["b"]) for row in stored])
    assert ranking.newest() == [open_ones[i] for i in most_informative(head, differences, 5)]


def test_without_a_head_or_with_one_that_knows_nothing_nothing_is_ranked(warehouse: Warehouse) -> None:
    for head in (None, new_head(HeadSettings(), EMBEDDING, D, ("product",))):
        ranking = Ranking(warehouse, Outstanding(warehouse, 1), lambda head=head: head, AskingSettings())  # type: ignore[misc]
        ranking.refresh()
        assert ranking.newest() == []


def test_newest_first_ranks_nothing(warehouse: Warehouse, head: Head) -> None:
    ranking = Ranking(warehouse, Outstanding(warehouse, 1), lambda: head, AskingSettings(order="newest"))
    ranking.start()
    assert ranking.share == 0
    assert not ranking._thread.is_alive()
    ranking.stop()
