"""How many informative judgments replace a uniform one: right where the truth is known, and silent where there is too little."""

from dataclasses import replace

import numpy as np
import pytest

from tests.trainers.preferences import EMBEDDING, Truth, drawn, preference_in
from trainers.data.preference import Preference
from trainers.reward.labels_saved import LabelsSaved, labels_saved
from trainers.reward.online.learn import new_head
from trainers.reward.online.settings import HeadSettings

D = 8
HEAD = new_head(HeadSettings(), EMBEDDING, D, ("product",))
TRUTH = Truth(np.random.default_rng(0).normal(size=D) * 3)


def judged(n: int, seed: int, stratum: str, truth: Truth = TRUTH) -> list[Preference]:
    found = [preference_in(each) for each in drawn(n, D, seed, truth)]
    return [replace(each, stratum=stratum, conversation_id=f"{stratum}-{seed}-{i}") for i, each in enumerate(found)]  # type: ignore[arg-type]


def ratio(uniform: list[Preference], informative: list[Preference]) -> LabelsSaved:
    held_out = judged(600, 9, "evaluation")
    arms = [*((each, "uniform") for each in (*uniform, *held_out)), *((each, "informative") for each in informative)]
    return labels_saved(arms, HEAD)


def test_judgments_of_the_same_kind_save_nothing() -> None:
    found = ratio(judged(100, 1, "training"), judged(300, 2, "training"))
    assert found.low is not None
    assert found.low <= 1 <= (found.high or np.inf)
    assert (found.uniform, found.informative) == (100, 300)


def test_uniform_judgments_that_say_nothing_are_beaten_by_few() -> None:
    noise = judged(100, 1, "training", replace(TRUTH, random=8))
    found = ratio(noise, judged(300, 2, "training"))
    assert found.ratio is not None
    assert found.ratio < 0.7


def test_informative_judgments_that_say_nothing_never_reach_the_uniform_ones() -> None:
    found = ratio(judged(200, 1, "training"), judged(150, 2, "training", replace(TRUTH, random=8)))
    assert found.ratio is None
    assert found.at_least == pytest.approx(0.75)


def test_with_few_judgments_nothing_is_said() -> None:
    found = ratio(judged(10, 1, "training"), judged(100, 2, "training"))
    assert (found.uniform, found.ratio, found.at_least) == (10, None, None)
    assert labels_saved([], HEAD) == LabelsSaved(0, 0, 0)
