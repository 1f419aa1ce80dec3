"""Which pairs to ask about: the information of an answer against known values, and batches that do not repeat themselves."""

import numpy as np
import pytest

from tests.trainers.preferences import EMBEDDING, drawn
from trainers.reward.asking import expected_curvature, information, most_informative
from trainers.reward.online import ordinal
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head
from trainers.reward.online.settings import HeadSettings

CUTS = HeadSettings().cut_points


@pytest.mark.parametrize(
    ("mean", "variance", "cuts", "nats"), [(0, 1, (), 0.0937), (0, 4, (), 0.2311), (2, 1, (), 0.0542), (0, 1, (0.4, 1, 1.8, 2.8), 0.1382)]
)
def test_information_has_the_known_values(mean: float, variance: float, cuts: tuple[float, ...], nats: float) -> None:
    assert information(np.array([mean]), np.array([variance]), cuts)[0] == pytest.approx(nats, abs=5e-5)


def test_a_certain_answer_and_known_weights_tell_nothing() -> None:
    assert information(np.array([0.0, 30.0]), np.array([0.0, 1.0]), CUTS) == pytest.approx([0, 0], abs=1e-9)


def test_the_expected_curvature_is_that_of_drawn_answers() -> None:
    rng = np.random.default_rng(0)
    z = 0.7 + 1.3 * rng.normal(size=200_000)
    level = np.searchsorted([*(-c for c in reversed(CUTS)), *CUTS], z + rng.logistic(size=len(z))) - ordinal.LEVELS
    drawn_curvature = ordinal.curvature(z, *ordinal.interval(level, level, CUTS)).mean()
    assert expected_curvature(np.array([0.7]), np.array([1.69]), CUTS)[0] == pytest.approx(drawn_curvature, rel=0.01)


@pytest.fixture(scope="module")
def head() -> Head:
    return learn_all(new_head(HeadSettings(objectives=()), EMBEDDING, 12, ("product",)), drawn(80, 12, seed=3))


def test_the_first_pair_is_the_most_informative_and_a_copy_of_it_comes_late(head: Head) -> None:
    rng = np.random.default_rng(1)
    pairs = rng.normal(size=(40, 12))
    alone = most_informative(head, pairs, 1)[0]
    pairs = np.concatenate([pairs, pairs[alone : alone + 1] * 1.0001])
    order = most_informative(head, pairs, 41)
    assert sorted(order) == list(range(41))
    first, copy = order.index(alone), order.index(40)
    assert min(first, copy) == 0
    assert max(first, copy) > 5


def test_it_asks_for_no_more_than_there_are(head: Head) -> None:
    assert most_informative(head, np.empty((0, 12)), 5) == []
    assert len(most_informative(head, np.ones((3, 12)), 5)) == 3


def test_a_pair_that_tells_much_but_only_about_itself_is_not_asked_first() -> None:
    nothing_learnt = new_head(HeadSettings(objectives=()), EMBEDDING, 12, ("product",))
    pairs = np.zeros((31, 12))
    pairs[:30, :4] = np.random.default_rng(2).normal(size=(30, 4))
    pairs[30, 11] = 6.0  # a direction that no other pair has
    variance = np.einsum("ni,ij,nj->n", pairs, nothing_learnt.overall.covariance[:-1, :-1], pairs)
    assert np.argmax(information(np.zeros(31), variance, CUTS)) == 30
    assert most_informative(nothing_learnt, pairs, 5)[0] != 30
