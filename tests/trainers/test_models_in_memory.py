"""At most two models are in memory at a time, and none after a stage."""

import gc
import weakref
from pathlib import Path

import pytest

from storage.events import Message
from tests.trainers.test_fine_tuning import Said, demonstrations
from trainers.audits.settings import EvaluationSettings
from trainers.audits.trial import ModelRef, Models
from trainers.policy.sft import SFTSettings, train_sft
from trainers.runs import stages

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two different adapters."""
    return [
        train_sft(
            str(tiny_model), demonstrations(16), [], SFTSettings(epochs=1, least_rows=8, seed=seed), tmp_path_factory.mktemp("run"), Said()
        ).adapter
        for seed in (0, 1)
    ]


def alive(references: list["weakref.ref[object]"]) -> int:
    gc.collect()
    return sum(reference() is not None for reference in references)


def test_a_third_model_takes_the_place_of_the_one_not_used_longest(tiny_model: Path, adapters: list[Path]) -> None:
    one, other = adapters
    models = Models(ModelRef(str(tiny_model), one), ModelRef(str(tiny_model), other), ModelRef(str(tiny_model)))
    seen = [weakref.ref(models.challenger.model), weakref.ref(models.base.model)]
    assert models.challenger.model is seen[0]()
    seen.append(weakref.ref(models.champion.model))
    assert alive(seen) == 2
    assert seen[1]() is None  # the base was not used longest
    models.release()
    assert alive(seen) == 0


def test_equal_references_share_one_model_and_one_sampling(tiny_model: Path, adapters: list[Path]) -> None:
    models = Models(ModelRef(str(tiny_model), adapters[0]), ModelRef(str(tiny_model)), ModelRef(str(tiny_model)))
    assert models.champion is models.base
    seen: list[tuple[int, int]] = []

    def progress(step: int, steps: int, metrics: object = None, artifacts: object = None) -> None:
        seen.append((step, steps))

    prompts = [(Message(role="user", content="Hello?"),), (Message(role="user", content="When?"),)]
    sampled = stages.sample(prompts, models, EvaluationSettings(max_tokens=4), progress)
    assert sampled.champion == sampled.base
    assert len(sampled.challenger) == 2
    assert seen[0] == (0, 4)  # two models, not three, for two prompts
    assert seen[-1] == (4, 4)
