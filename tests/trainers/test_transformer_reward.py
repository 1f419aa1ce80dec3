"""The transformer reward model: its loss, its inputs, training on encoders and decoders, saving, calibration."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feedbackloop import RewardModel
from storage.errors import DataRefused, ModelNotFound
from storage.settings import Common, Settings
from tests.trainers.conftest import said
from trainers.data.preference import Preference
from trainers.reward.transformer.calibration import CUT, Calibration
from trainers.reward.transformer.model import TransformerReward, padded
from trainers.reward.transformer.settings import TransformerSettings
from trainers.reward.transformer.training import train_transformer

pytestmark = pytest.mark.training


def preferences(n: int) -> list[Preference]:
    """A reply with a day is preferred to one without, of equal length. One in eight is a tie."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(n):
        prompt = said(f"When is it, number {i}?", facts=f"Candidate: number {i}")
        better, worse = f"On {rng.choice(['Monday', 'Friday'])}, {i}.", f"At {rng.choice(['some', 'any'])} time, {i}."
        each = Preference.of_replies(prompt, better, worse, strength=1 + i % 4)
        found.append(replace(each, choice="tie", strength=None) if i % 8 == 0 else each)
    return found


def settings_for(model: Path, **values: object) -> TransformerSettings:
    return TransformerSettings.model_validate({"model": str(model), "learning_rate": 2e-3, "epochs": 4, "batch": 16} | values)


@pytest.fixture(scope="module")
def encoder(tiny_encoder: dict[str, Path]) -> Path:
    folder = tiny_encoder["encoder"]
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"})
    )
    return folder


@pytest.fixture(scope="module")
def trained(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> TransformerReward:
    return train_transformer(preferences(200), settings_for(encoder), tmp_path_factory.mktemp("work"))


def test_the_loss_has_the_published_values() -> None:
    import torch

    from trainers.reward.transformer.training import pair_loss

    d, y, m = (torch.tensor(values) for values in ([1.2, 1.2, -1.2, 0.0], [1.0, 1.0, 1.0, 0.5], [0.0, 0.5, 0.0, 0.0]))
    assert pair_loss(d, y, m).numpy() == pytest.approx([0.263282, 0.403186, 1.463282, np.log(2)], abs=1e-6)
    tie = pair_loss(torch.tensor([0.7, -0.7]), torch.tensor([0.5, 0.5]), torch.zeros(2))
    assert tie[0] == tie[1]


def accuracy(model: TransformerReward, some: list[Preference]) -> float:
    decisive = [each for each in some if each.choice != "tie"]
    scores = model.scores([(each.prompt, text) for each in decisive for text in (each.chosen, each.rejected)])
    return float((scores[::2] > scores[1::2]).mean())


def test_an_encoder_learns_a_preference_and_predicts_it_on_unseen_prompts(trained: TransformerReward) -> None:
    assert accuracy(trained, preferences(300)[200:]) > 0.95
    assert trained.card.calibration.pairs > 0
    assert trained.about["rows"] == 200 - trained.card.calibration.pairs


def test_a_decoder_learns_it_with_an_adapter(tiny_model: Path, tmp_path: Path) -> None:
    model = train_transformer(preferences(200), settings_for(tiny_model, lora_rank=4, learning_rate=1e-2, epochs=6), tmp_path)
    assert accuracy(model, preferences(300)[200:]) > 0.9
    assert not any("lora" in name for name, _ in model.model.named_parameters())


def test_with_all_sides_swapped_it_is_the_same(encoder: Path, tmp_path: Path) -> None:
    some, settings = preferences(64), settings_for(encoder, epochs=1, checkpoints=1)
    one = train_transformer(some, settings, tmp_path / "one")
    other = train_transformer([each.swapped() for each in some], settings, tmp_path / "other")
    items = [(each.prompt, text) for each in some for text in (each.a, each.b)]
    assert np.array_equal(one.scores(items), other.scores(items))
    a, b = items[::2], items[1::2]
    assert np.array_equal(one.compare(a, b).mean, -one.compare(b, a).mean)


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(encoder: Path, tmp_path: Path) -> None:
    some, settings = preferences(64), settings_for(encoder, epochs=2, checkpoints=2)
    whole = train_transformer(some, settings, tmp_path / "whole")

    def killed(step: int, steps: int, metrics: object) -> None:
        if step == steps - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_transformer(some, settings, tmp_path / "killed", killed)
    steps: list[int] = []
    resumed = train_transformer(some, settings, tmp_path / "killed", lambda step, *_: steps.append(step))
    assert steps[0] > 1
    items = [(each.prompt, each.a) for each in some]
    assert np.array_equal(whole.scores(items), resumed.scores(items))


def test_the_saved_model_scores_the_same_in_the_public_interface(trained: TransformerReward, tmp_path: Path) -> None:
    trained.save(tmp_path / "reward")
    model = RewardModel.load(tmp_path / "reward")
    replies = ["On Monday, 4.", "At some time, 4."]
    prompt = said("When is it, number 4?", facts="Candidate: number 4")
    assert model.score(prompt, replies) == pytest.approx(trained.scores([(prompt, reply) for reply in replies]), abs=1e-6)
    assert [each.index for each in model.rerank(prompt, replies[::-1])] == [1, 0]
    answer = model.compare(prompt, *replies)
    assert answer.a[0] > answer.b[0]
    assert answer.a[0] + answer.tie[0] + answer.b[0] == pytest.approx(1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_score_does_not_depend_on_padding(tiny_model: Path, tmp_path: Path, side: str) -> None:
    """A decoder's score is read at its last real token."""
    import torch

    model = train_transformer(preferences(48), settings_for(tiny_model, epochs=1), tmp_path)
    prompt = said("When?")
    rows = [model._inputs.ids(prompt, text) for text in ("Yes.", "On Monday, and if that is too early on Friday.")]
    ids, mask = padded([row for row in rows if row is not None], model.tokenizer)
    if side == "left":
        shift = int((mask[0] == 0).sum())
        ids[0], mask[0] = ids[0].roll(shift), mask[0].roll(shift)
    with torch.no_grad():
        together = model.model(input_ids=ids, attention_mask=mask, **positions(mask)).logits[0, 0].item()
    assert together == pytest.approx(float(model.logits([(prompt, "Yes.")])[0]), abs=1e-5)


def positions(mask: object) -> dict[str, object]:
    return {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}  # type: ignore[attr-defined]


def test_a_long_prompt_loses_its_beginning_and_a_long_reply_is_counted(encoder: Path, tmp_path: Path) -> None:
    long = Preference.of_replies(said("word " * 400 + "?"), "On Monday.", "At some time.")
    too_long = Preference.of_replies(said("?"), "On Monday. " * 200, "At some time.")
    model = train_transformer([*preferences(64), long, too_long], settings_for(encoder, epochs=1, calibration_share=0.0), tmp_path)
    assert (model.about["rows"], model.about["too_long"]) == (65, 1)
    assert model.card.calibration == Calibration()


def test_a_reply_that_is_too_long_is_scored_in_pieces(trained: TransformerReward) -> None:
    prompt, part = said("When?"), "day " * 128  # half of the 256 tokens
    whole, first, last = trained.logits([(prompt, part * 2 + "soon"), (prompt, part), (prompt, "soon")])
    assert whole == pytest.approx((2 * 128 * first + last) / 257, abs=1e-5)
    assert len(trained.logits([])) == 0


def test_a_decoder_scores_a_long_reply_too(tiny_model: Path, tmp_path: Path) -> None:
    model = train_transformer(preferences(48), settings_for(tiny_model, epochs=1, max_length=64), tmp_path)
    assert np.isfinite(model.scores([(said("When?"), "On Monday, or later. " * 60), (said("When?"), "Now.")])).all()


def test_too_few_preferences_and_wrong_models_are_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="at least 32 are needed"):
        train_transformer(preferences(20), settings_for(encoder), tmp_path)
    some = [Preference.of_replies(said(f"{n}?"), "On Monday. " * 20, "No.") for n in range(40)]
    with pytest.raises(DataRefused, match=r"do not fit into max_length = 32 tokens: raise it in \[transformer\]"):
        train_transformer(some, settings_for(encoder, max_length=32), tmp_path)
    with pytest.raises(ModelNotFound, match="there is no such folder"):
        train_transformer(preferences(64), settings_for(tmp_path / "nothing"), tmp_path)


def test_calibration_finds_the_scale_and_the_share_of_ties() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 3, size=4_000)
    z, cut = 0.4 * logits, 0.8
    draws = rng.random(4_000)
    a, b = 1 / (1 + np.exp(cut - z)), 1 / (1 + np.exp(cut + z))
    found = Calibration.fit(logits, ["A" if u < p else "B" if u > 1 - q else "tie" for u, p, q in zip(draws, a, b, strict=True)])
    assert found.slope == pytest.approx(0.4, rel=0.1)
    assert found.cut == pytest.approx(0.8, rel=0.1)
    assert Calibration.fit(np.empty(0), []) == Calibration(slope=1.0, cut=CUT, pairs=0)
    few = Calibration.fit(np.array([1.0, 2.0]), ["A", "A"])
    assert 0.5 < few.slope < 10


def test_the_command_trains_one_and_says_how_good_it_is(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from deploy.cli.main import app

    records = [
        {"prompt": each.prompt[-1].content, "chosen": each.chosen, "rejected": each.rejected, "strength": each.strength}
        for each in preferences(160)
        if each.choice != "tie"
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    monkeypatch.chdir(tmp_path)
    for name, value in {"MODEL": str(encoder), "LEARNING_RATE": "2e-3", "EPOCHS": "4"}.items():
        monkeypatch.setenv(f"FEEDBACKLOOP_TRANSFORMER__{name}", value)
    done = CliRunner().invoke(app, ["train", "--phase", "reward", "--kind", "transformer", "--data", "data.jsonl"])
    assert done.exit_code == 0, done.output
    assert "records train a transformer" in done.output
    assert "saved in out/reward" in done.output
    model = RewardModel.load(tmp_path / "out" / "reward", Settings(Common()))
    better, worse = model.score("When is it, number 900?", ["On Friday, 900.", "At any time, 900."])
    assert better > worse
