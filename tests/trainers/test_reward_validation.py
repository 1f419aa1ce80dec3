"""Reward metrics on held-out records, against closed forms and other implementations, and on real data if available."""

import gzip
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from storage.errors import DataRefused
from storage.settings import Settings
from tests.profiles import examples
from trainers.reward import measures
from trainers.reward.validation import RewardReport, train_reward

pytestmark = pytest.mark.training

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "preference" / "pandalm_dev.jsonl.gz"


@given(arrays(float, st.integers(2, 30), elements=st.integers(-3, 3).map(float)))
@settings(max_examples=examples(60))
def test_auc_is_the_share_of_pairs_in_both_orders_that_are_ranked_correctly(margins: np.ndarray) -> None:
    n = len(margins)
    correct = [np.sign(margins[i] + margins[j]) / 2 + 0.5 for i in range(n) for j in range(n) if i != j]
    assert measures.auc(margins) == pytest.approx(np.mean(correct))


def test_auc_is_the_mean_over_random_orders_of_what_scikit_learn_computes() -> None:
    roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score
    rng = np.random.default_rng(0)
    margins = rng.normal(0.4, 1, size=400)
    found = []
    for _ in range(200):
        order = rng.choice([-1, 1], size=400)
        found.append(roc_auc_score(order > 0, margins * order))
    assert measures.auc(margins) == pytest.approx(np.mean(found), abs=0.003)


def test_accuracy_counts_a_zero_margin_as_half() -> None:
    assert measures.accuracy(np.array([1.0, -1.0, 0.0, 2.0])) == 0.625


def test_a_calibrated_model_shows_the_calibration_error_expected_of_its_sample_size() -> None:
    rng = np.random.default_rng(1)
    size = np.abs(rng.normal(0, 1, size=434))
    margins = np.where(rng.random(434) < 1 / (1 + np.exp(-size)), size, -size)
    null = measures.calibration_error_if_calibrated(margins)
    assert 0.03 < null < 0.09  # .059 was measured for 434 pairs and 15 bins
    assert measures.calibration_error(margins) < 2 * null
    assert measures.calibration_error(np.where(np.arange(434) % 2 == 0, 4.0, -4.0)) == pytest.approx(1 / (1 + np.exp(-4)) - 0.5)


def test_correlation_with_length_changes_its_sign_with_the_margins_and_not_with_the_sides() -> None:
    rng = np.random.default_rng(4)
    length = rng.normal(size=300)
    margins, sides = length + rng.normal(size=300), rng.choice([-1, 1], size=300)
    found = measures.correlation(margins, length)
    assert 0.6 < found < 0.8  # 1 / sqrt(2)
    assert measures.correlation(-margins, length) == -found
    assert measures.correlation(sides * margins, sides * length) == pytest.approx(found)
    assert measures.correlation(margins, np.zeros(300)) == 0


def test_intervals_are_wider_where_prompts_repeat() -> None:
    rng = np.random.default_rng(2)
    of_prompt = rng.normal(0.2, 1, size=40)
    margins = np.repeat(of_prompt, 10)
    clustered = measures.with_interval(measures.accuracy, margins, np.repeat(np.arange(40), 10))
    pretended = measures.with_interval(measures.accuracy, margins, np.arange(400))
    assert clustered.high - clustered.low > 2 * (pretended.high - pretended.low)
    assert clustered.low < clustered.value == pretended.value < clustered.high


def records(n: int) -> list[bytes]:
    """The reply with a date is preferred nine times in ten; the words around it differ."""
    rng = np.random.default_rng(3)
    lines = []
    for i in range(n):
        day, role = rng.choice(["Monday", "Tuesday", "Friday"]), rng.choice(["analyst", "nurse", "welder"])
        chosen = f"Your interview for {role} is on {day} at {rng.integers(8, 17)}:00, candidate {i}."
        rejected = f"We will tell you about the {role} interview some other time, candidate {i}."
        if rng.random() < 0.1:
            chosen, rejected = rejected, chosen
        lines.append(orjson.dumps({"prompt": f"When is my interview as {role}? I am number {i}.", "chosen": chosen, "rejected": rejected}))
    return lines


def found_in(path: Path, lines: list[bytes]) -> RewardReport:
    path.write_bytes(b"\n".join(lines))
    return train_reward(path, Settings.read(path.parent, {}))


def test_a_simple_preference_is_learnt_and_predicted_on_unseen_prompts(tmp_path: Path) -> None:
    report = found_in(tmp_path / "data.jsonl", [*records(120), b"no record"])
    assert report.held_out.accuracy.value > 0.75  # .9 is the best possible
    assert report.cross_validated is not None
    assert report.cross_validated.auc.low > 0.7
    assert report.held_out.pairs + report.training_pairs == 120 == report.cross_validated.pairs
    assert report.bad_lines == 1
    assert report.first_bad_line is not None
    assert report.first_bad_line.startswith("121: not JSON")
    text = report.as_text()
    assert f"{report.held_out.accuracy.value:.3f}" in text


def test_with_all_sides_swapped_it_prints_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainers.data import preference

    lines = records(60)
    before = found_in(tmp_path / "data.jsonl", lines)
    ordinary = preference.digest_of
    # The first digit of the digest decides the side; flipping its last bit flips all of them.
    monkeypatch.setattr(preference, "digest_of", lambda *texts: f"{int(ordinary(*texts)[0], 16) ^ 1:x}{ordinary(*texts)[1:]}")
    after = found_in(tmp_path / "data.jsonl", lines)
    assert before == after
    assert before.as_text() == after.as_text()


def test_too_little_or_one_sided_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="at least 20 and 10"):
        found_in(tmp_path / "data.jsonl", records(15))


@pytest.mark.skipif(not REAL.exists(), reason="the real preference data lies beside the project only where it is developed")
def test_real_preferences_are_predicted_better_than_by_length(tmp_path: Path) -> None:
    with gzip.open(REAL) as stream:
        some = [line.rstrip() for line, _ in zip(stream, range(160), strict=False)]
    report = found_in(tmp_path / "data.jsonl", some)
    assert report.bad_lines == 0
    assert report.cross_validated is not None
    assert report.cross_validated.auc.value > 0.6
