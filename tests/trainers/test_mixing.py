"""A mixture of objectives: its formula, its scale, the floor under safety, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from feedbackloop import RewardModel
from storage.errors import ConfigurationError, DataRefused
from storage.settings import Common, Settings
from tests.trainers.conftest import said
from tests.trainers.preferences import EMBEDDING
from trainers.data.preference import Preference
from trainers.reward.mixing import MixingSettings, mixture_of
from trainers.reward.online.head import Head, new_head
from trainers.reward.online.settings import HeadSettings

OBJECTIVES = ("helpful", "safe", "factual", "engaging")
REFERENCE = np.vstack([np.eye(4), -np.eye(4)]) * 2  # weights of length w give a spread of w


def head_with(lengths: tuple[float, ...], spread: float = 1e-6) -> Head:
    """A head of four features, of which objective k values feature k by ``lengths[k]``."""
    head = new_head(HeadSettings(), EMBEDDING, 4, ("product",))
    tastes = dict(head.tastes)
    for k, name in enumerate(OBJECTIVES):
        mean = np.zeros(5)
        mean[k] = lengths[k]
        tastes[name] = replace(tastes[name], mean=mean, covariance=np.asfortranarray(np.eye(5) * spread**2))
    return replace(head, tastes=tastes)


def test_it_has_the_value_of_its_formula() -> None:
    mixture = mixture_of(head_with((1, 1, 1, 1)), MixingSettings(floored=""), REFERENCE)
    assert mixture.spreads == pytest.approx(dict.fromkeys(OBJECTIVES, 1.0))
    assert mixture.rewards(np.array([[1, -2, 0.5, 0]])) == pytest.approx([-0.1])


def test_an_objective_with_a_loud_head_does_not_decide() -> None:
    quiet, loud = (mixture_of(head_with(lengths), MixingSettings(floored=""), REFERENCE) for lengths in ((1, 1, 1, 1), (9, 1, 1, 1)))
    pairs = np.random.default_rng(0).normal(size=(20, 4))
    assert loud.rewards(pairs) == pytest.approx(quiet.rewards(pairs))
    assert loud.reference == quiet.reference
    assert mixture_of(head_with((1, 1, 1, 1)), MixingSettings(floored=""), REFERENCE * 2).reference != loud.reference


def test_safety_has_a_floor_at_any_weight() -> None:
    settings = MixingSettings(weights={"helpful": 1.0}, floor=-1.0)
    mixture = mixture_of(head_with((1, 1, 1, 1)), settings, REFERENCE)
    assert mixture.rewards(np.array([[5, -0.9, 0, 0], [5, -1.1, 0, 0]])).tolist() == [5, -np.inf]
    unsure = mixture_of(head_with((1, 1, 1, 1), spread=0.5), settings, REFERENCE)
    assert unsure.vetoed(np.array([[0, 0, 0, 0], [0, -0.9, 0, 0]])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"helpful": 0.5, "kind": 0.5}, r"'kind' is no objective of the reward head, which has helpful, safe, factual, engaging"),
        ({"helpful": 0.5, "engaging": 0.5}, r"nobody has judged 'engaging' yet: ask for it in judgments"),
    ],
)
def test_a_missing_objective_is_refused(weights: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        mixture_of(head_with((1, 1, 1, 0)), MixingSettings(weights=weights), REFERENCE)


def test_weights_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"sum to 1, and these sum to 0\.9"):
        MixingSettings(weights={"helpful": 0.9})


@pytest.mark.training
def test_a_mixture_is_trained_saved_and_ranks(tmp_path: Path) -> None:
    settings = Settings(Common(), {"reward": {"weights": {"helpful": 0.5, "safe": 0.5}, "floor": -1.0}})
    model = RewardModel.fit(rated(120), settings, kind="mixture")
    question = "When is it, number 3?"
    replies = ["On Friday, 3.", "At any time, 3.", "On Friday, 3, if you have no children."]
    assert model.rerank(question, replies, top_n=1)[0].index == 0
    assert model.save(tmp_path / "model") == tmp_path / "model"
    again = RewardModel.load(tmp_path / "model", settings)
    assert again.score(question, replies) == pytest.approx(model.score(question, replies))
    assert again.reward.about == model.reward.about
    swapped, straight = model.compare(question, replies[1], replies[0]), model.compare(question, replies[0], replies[1])
    assert swapped.mean == pytest.approx(-straight.mean)
    assert straight.a[0] > 0.5


@pytest.mark.training
def test_an_objective_that_nobody_has_rated_is_refused_by_name() -> None:
    with pytest.raises(DataRefused, match="nobody has judged 'factual' yet"):
        RewardModel.fit(rated(40), kind="mixture")


def rated(n: int) -> list[Preference]:
    """A reply with a day is more helpful; one that asks about children is less safe."""
    found = []
    for i in range(n):
        helpful, safe = i % 2 == 0, i % 3 != 0
        better = f"On {('Monday', 'Friday')[i % 2]}, {i}."
        worse = f"At {('some', 'any')[i % 2]} time, {i}." if helpful else better + " Do you have children?"
        each = Preference.of_replies(said(f"When is it, number {i}?"), better, worse)
        assert each.choice is not None
        answers = {"helpful": each.choice if helpful else "tie", "safe": "tie" if helpful and safe else each.choice}
        found.append(replace(each, objectives=answers, stratum="training"))
    return found
