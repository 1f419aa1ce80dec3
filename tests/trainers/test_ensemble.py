"""Ensembles of reward models: how scores are combined, which judgments each member sees, and that they are saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from feedbackloop import RewardModel
from storage.errors import ArtifactError
from storage.settings import Common, Settings
from tests.trainers.conftest import said
from trainers.data.preference import Preference
from trainers.features.embedding import Item
from trainers.reward.ensemble import EnsembleReward, combined, resampled
from trainers.reward.online.head import Prediction
from trainers.reward.reward import Reward

PROMPT, OTHER = said("When?"), said("Where?")


@dataclass
class Fixed:
    """Scores by reply, plus an origin of its own for each prompt, which must not matter."""

    values: dict[str, float]
    origin: float
    about: Mapping[str, float | str] = field(default_factory=dict)

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        return np.array([self.values[reply] + self.origin * len(prompt[0].content) for prompt, reply in items])

    def compare(self, first: Sequence[Item], second: Sequence[Item]) -> Prediction:
        mean = self.scores(first) - self.scores(second)
        return Prediction(mean, np.zeros(len(mean)), expit(mean), np.zeros(len(mean)), expit(-mean))

    def save(self, path: Path) -> Path:
        raise NotImplementedError


MEMBERS: list[tuple[str, Reward]] = [("head", Fixed({"x": 2, "y": 0, "z": 1}, 5)), ("head", Fixed({"x": 0, "y": 0, "z": 0.9}, -7))]


def test_combinations_have_the_values_of_their_definitions() -> None:
    scores = np.array([[2.0, 1.0], [0.0, 0.9]])
    assert combined(scores, "mean", 9).tolist() == [1, 0.95]
    assert combined(scores, "min", 9).tolist() == [0, 0.9]
    assert combined(scores, "mean_minus_variance", 0.5) == pytest.approx([0.5, 0.94875])


def test_members_are_compared_within_a_prompt_whatever_their_origin() -> None:
    items = [(PROMPT, "x"), (PROMPT, "y"), (PROMPT, "z"), (OTHER, "x"), (OTHER, "y")]
    scores = EnsembleReward(MEMBERS, "mean", 0).scores(items)
    assert scores == pytest.approx([0.35, -0.65, 0.3, 0.5, -0.5])
    assert np.argmax(EnsembleReward(MEMBERS, "min", 0).scores(items[:3])) == 2  # the one on which they agree
    assert EnsembleReward(MEMBERS, "mean", 0).scores([]).shape == (0,)


@pytest.mark.parametrize("combination", ["mean", "min", "mean_minus_variance"])
def test_exchanging_the_sides_exchanges_the_prediction(combination: str) -> None:
    model = EnsembleReward(MEMBERS, combination, 0.5)  # type: ignore[arg-type]
    one, other = model.compare([(PROMPT, "x")], [(PROMPT, "y")]), model.compare([(PROMPT, "y")], [(PROMPT, "x")])
    assert one.mean == pytest.approx(-other.mean)
    assert one.a == pytest.approx(other.b)
    assert one.variance == pytest.approx([1.0])  # of 2 and 0


def preferences(recruiters: int) -> list[Preference]:
    some = [Preference.of_replies(said(f"Question {n}?"), f"On Monday, {n}.", f"Some time, {n}.") for n in range(60)]
    return [replace(each, recruiter=f"r-{n % recruiters}", stratum="training") for n, each in enumerate(some)]


def test_recruiters_are_drawn_whole_and_conversations_where_there_are_few() -> None:
    rng = np.random.default_rng(0)
    drawn = resampled(preferences(6), rng)
    counts = {name: sum(each.recruiter == name for each in drawn) for name in {each.recruiter for each in drawn}}
    assert len(drawn) == 60
    assert all(count % 10 == 0 for count in counts.values())
    assert len(counts) < 6
    drawn = resampled(preferences(2), rng)
    assert 30 < len({each.conversation_id for each in drawn}) < 60


@pytest.mark.training
def test_an_ensemble_is_trained_saved_and_read_back(tiny_encoder: dict[str, Path], tmp_path: Path) -> None:
    settings = Settings(Common(), {"features": tiny_encoder, "ensemble": {"heads": 3}})
    model = RewardModel.fit(preferences(6), settings, kind="ensemble")
    better, worse = model.score("Question 900?", ["On Monday, 900.", "Some time, 900."])
    assert better > worse
    again = RewardModel.load(model.save(tmp_path / "reward"), settings)
    texts = ["On Monday, 900.", "Some time, 900.", "Never."]
    assert again.score("Question 900?", texts) == pytest.approx(model.score("Question 900?", texts), abs=1e-5)
    assert again.reward.about == {"heads": 3.0, "combination": "mean_minus_variance"}
    (tmp_path / "reward" / "1" / "head.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"1/head\.safetensors: no reward head to be read there"):
        RewardModel.load(tmp_path / "reward", settings)
