"""Thompson sampling of second responses: what is chosen how often is what is recorded."""

from collections.abc import Sequence
from uuid import uuid4

import numpy as np
import pytest

from serving.online_reward import OnlineReward
from serving.second_choice import UNIFORM, SecondChoice
from storage.errors import Overloaded
from storage.events import Message
from tests.trainers.preferences import EMBEDDING, drawn
from trainers.features.embedding import Item
from trainers.features.settings import FeatureSettings
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head
from trainers.reward.online.settings import HeadSettings

D = 6
PROMPT = (Message(role="user", content="When?"),)
TEXTS = ["one", "two", "three"]


class Known:
    """An embedding of three texts."""

    def __init__(self, digest: str, features: np.ndarray) -> None:
        self.hash, self.dimension, self._features = digest, D, features

    def features(self, items: Sequence[Item]) -> np.ndarray:
        return np.array([self._features[TEXTS.index(text)] for _, text in items])


def choice_of(head: Head | None, features: np.ndarray, digest: str = EMBEDDING) -> SecondChoice:
    reward = OnlineReward(lambda: head, FeatureSettings())
    reward._embedding = Known(digest, features)  # type: ignore[assignment]
    return SecondChoice(reward, 3)


@pytest.fixture(scope="module")
def head() -> Head:
    return learn_all(new_head(HeadSettings(), EMBEDDING, D, ("product",)), drawn(60, D, seed=2))


def test_choices_are_as_frequent_as_recorded(head: Head) -> None:
    features = np.random.default_rng(3).normal(size=(3, D))
    choice = choice_of(head, features)
    found = [choice.choose(PROMPT, TEXTS, uuid4()) for _ in range(600)]
    for place in range(3):
        recorded = [chance for chosen, chance in found if chosen == place]
        assert recorded
        assert abs(len(recorded) / 600 - np.mean(recorded)) < 0.09  # over four standard errors
        assert min(recorded) >= UNIFORM / 3


def test_a_text_that_is_surely_better_is_nearly_always_chosen(head: Head) -> None:
    best = 40 * head.weights / np.linalg.norm(head.weights) ** 2
    choice = choice_of(head, np.array([np.zeros(D), best, np.zeros(D)]))
    found = [choice.choose(PROMPT, TEXTS, uuid4()) for _ in range(200)]
    assert sum(place == 1 for place, _ in found) > 170
    assert choice.choose(PROMPT, TEXTS, found_id := uuid4()) == choice.choose(PROMPT, TEXTS, found_id)


@pytest.mark.parametrize("case", ["none", "nothing learnt", "another embedding"])
def test_without_a_head_of_this_embedding_every_text_is_as_likely(head: Head, case: str) -> None:
    known = {"none": None, "nothing learnt": new_head(HeadSettings(), EMBEDDING, D, ("product",)), "another embedding": head}[case]
    choice = choice_of(known, np.eye(3, D), "f" * 64 if case == "another embedding" else EMBEDDING)
    found = [choice.choose(PROMPT, TEXTS, uuid4()) for _ in range(300)]
    assert {chance for _, chance in found} == {1 / 3}
    assert min(sum(place == each for place, _ in found) for each in range(3)) > 60


def test_a_log_that_cannot_be_read_costs_no_pair() -> None:
    def head() -> Head | None:
        raise Overloaded("the log is away", retry_after=1)

    assert SecondChoice(OnlineReward(head, FeatureSettings()), 3).choose(PROMPT, TEXTS, uuid4())[1] == 1 / 3
