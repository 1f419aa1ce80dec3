"""What holds for reward models of every kind in the table: random answers teach nothing, and the sides' names do not matter."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.settings import Settings
from tests.trainers.conftest import said
from trainers.data.preference import DecisiveChoice, Preference
from trainers.reward.mixing import MixingSettings
from trainers.reward.reward import Reward, no_progress
from trainers.reward.table import REWARD_MODELS, reward_model

pytestmark = pytest.mark.training

KINDS = [kind.name for kind in REWARD_MODELS]
OBJECTIVES = tuple(MixingSettings().weights)
DAYS, TIMES = ("Monday", "Friday", "Sunday"), ("some", "any", "no")


@pytest.fixture(scope="module")
def settings(tiny_encoder: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tiny_encoder["encoder"]
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"})
    )
    transformer = {"model": str(folder), "learning_rate": 2e-3, "epochs": 1, "batch": 16}
    home = Settings.read(tmp_path_factory.mktemp("home"), {})
    return home.with_values(features=tiny_encoder, transformer=transformer, ensemble={"heads": 2, "transformer": True})


def randomly_answered(n: int, seed: int) -> list[Preference]:
    """Comparisons of a reply with a day and one without, answered by the toss of a coin, overall and under each objective."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        prompt = said(f"When is it, number {seed}-{i}?")
        with_day, without = f"On {rng.choice(DAYS)}, {rng.integers(1000)}.", f"At {rng.choice(TIMES)} time, {rng.integers(1000)}."
        tossed = (with_day, without) if rng.random() < 0.5 else (without, with_day)
        each = Preference.of_replies(prompt, *tossed)
        answers: dict[str, DecisiveChoice] = {name: "A" if rng.random() < 0.5 else "B" for name in OBJECTIVES}
        found.append(replace(each, stratum="training", recruiter=f"r-{i % 6}", objectives=answers))
    return found


def fitted(kind: str, settings: Settings, preferences: list[Preference], folder: Path) -> Reward:
    return reward_model(kind).fitter(settings, no_progress).fit(preferences, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_random_answers_predict_nothing(kind: str, settings: Settings, tmp_path: Path) -> None:
    model = fitted(kind, settings, randomly_answered(240, seed=1), tmp_path)
    unseen = randomly_answered(1_500, seed=2)
    found = model.compare([(each.prompt, each.chosen) for each in unseen], [(each.prompt, each.rejected) for each in unseen])
    assert 0.45 <= float((found.mean > 0).mean()) <= 0.55


@pytest.mark.parametrize("kind", KINDS)
def test_with_all_sides_swapped_the_model_is_the_same(kind: str, settings: Settings, tmp_path: Path) -> None:
    some = randomly_answered(64, seed=3)
    one, other = (
        fitted(kind, settings, answers, tmp_path / name) for name, answers in (("one", some), ("other", [each.swapped() for each in some]))
    )
    a, b = [(each.prompt, each.a) for each in some], [(each.prompt, each.b) for each in some]
    assert one.compare(a, b).mean == pytest.approx(other.compare(a, b).mean, abs=1e-6)
    assert one.compare(a, b).mean == pytest.approx(-one.compare(b, a).mean, abs=1e-6)
