"""The measures beside the gates: on a tiny model, on rewards whose answers are known, and in the report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.settings import Settings
from trainers.api import evaluate_policy, train_policy
from trainers.evaluation import intervals
from trainers.evaluation.measure import Names, with_bounds
from trainers.evaluation.overlap import Overlap
from trainers.evaluation.policies import PolicyRewards, elsewhere, preferred
from trainers.evaluation.reward_alignment import RewardAlignment
from trainers.evaluation.robustness import Robustness
from trainers.evaluation.settings import MeasureSettings
from trainers.evaluation.severity import AXES
from trainers.evaluation.table import measures, read_measures, rows_of
from trainers.evaluation.tasks import TaskSet, TaskSuccess
from trainers.reward.panel import Judged, fit_panel
from trainers.runs.data import RunData
from trainers.runs.report import Report

pytestmark = pytest.mark.training

FEW = MeasureSettings(best_of=3, policy_prompts=6, severity_prompts=3, tasks=5, resamples=200)


@pytest.fixture(scope="module")
def evaluated(run_settings: Settings, snapshot: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """An adapter against its base; a task is done by every second reply, whoever gives it."""
    folder = tmp_path_factory.mktemp("measured")
    trained = train_policy(run_settings, snapshot, str(tiny_model), folder)
    data = RunData.read(snapshot)
    tasks = TaskSet(tuple(data.prompts(5)), lambda i, reply: i % 2 == 0, "a test")
    return evaluate_policy(run_settings, data, str(trained.adapter), str(tiny_model), folder, measures=FEW, tasks=tasks)


def test_every_measure_is_in_the_report_and_is_read_back_as_it_was(evaluated: Report, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(evaluated.model_dump_json())
    report = Report.model_validate_json((tmp_path / "report.json").read_bytes())
    found = read_measures(report.measures)
    assert list(found) == list(measures())
    assert all(found[name].model_dump(mode="json") == report.measures[name] for name in found)
    assert report.simulated
    labels = [label for label, _ in rows_of(found, Names("ours", "theirs"))]
    assert any("ours" in label for label in labels)
    assert any("theirs" in label for label in labels)


def test_the_tasks_are_those_that_were_passed_in(evaluated: Report) -> None:
    found = TaskSuccess.model_validate(evaluated.measures["tasks"])
    assert (found.conversations, found.world) == (5, "a test")
    assert found.challenger.figure == found.champion.figure == 3 / 5
    assert (found.over_champion.figure, found.over_champion.low, found.over_champion.high) == (0, 0, 0)


def test_sft_is_the_zero_of_rewards_and_the_best_of_n_is_not_below_it(evaluated: Report) -> None:
    found = PolicyRewards.model_validate(evaluated.measures["policies"])
    policies = {each.name: each for each in found.policies}
    assert list(policies) == ["random", "SFT", "best of n", "RLHF"]  # the base is the champion, so there is no fifth
    assert found.prompts == 6
    assert policies["SFT"].reward.figure == policies["SFT"].reward.low == policies["SFT"].reward.high == 0
    assert policies["SFT"].preferred.figure == 0.5
    assert policies["best of n"].reward.figure >= 0


def test_each_axis_has_a_line_of_four_levels_for_each_model_and_the_base_is_the_zero_of_rewards(evaluated: Report) -> None:
    found = Robustness.model_validate(evaluated.measures["robustness"])
    assert found.models == ("challenger", "champion")  # the base is the champion, and not measured twice
    first = [found.line(axis.name, "challenger")[0] for axis in AXES]
    assert len({point.model_copy(update={"axis": ""}).model_dump_json() for point in first}) == 1  # level 0 is common to all axes
    for axis in AXES:
        for model in found.models:
            assert [point.severity for point in found.line(axis.name, model)] == [0, 1, 2, 3]
        assert [point.reward and point.reward.figure for point in found.line(axis.name, "champion")] == [0, 0, 0, 0]
    assert all(point.prompts == 3 and point.unsupported is not None for point in found.points)


def test_alignment_and_overlap_are_measured_on_the_evaluation_stratum_only(evaluated: Report, snapshot: Path) -> None:
    held_out = [each for each in RunData.read(snapshot).preferences if each.stratum == "evaluation" and each.choice in ("A", "B")]
    found = RewardAlignment.model_validate(evaluated.measures["reward_alignment"])
    assert found.judgments == len(held_out)
    assert set(found.by_recruiter) == {each.recruiter for each in held_out}
    longer = np.mean([(len(each.chosen) > len(each.rejected)) + 0.5 * (len(each.chosen) == len(each.rejected)) for each in held_out])
    assert found.longer.figure == pytest.approx(longer)
    overlap = Overlap.model_validate(evaluated.measures["overlap"])
    assert overlap.prompts == len({each.prompt for each in held_out})
    assert overlap.champion == overlap.base
    assert "version:" in overlap.challenger.signatures["bleu"]


def test_counts_of_zero_leave_a_measure_out_and_the_gates_stay(
    run_settings: Settings, snapshot: Path, tiny_model: Path, tmp_path: Path
) -> None:
    none = MeasureSettings(policy_prompts=0, severity_prompts=0, resamples=200)
    report = evaluate_policy(run_settings, snapshot, str(tiny_model), str(tiny_model), tmp_path, measures=none)
    assert set(report.measures) == {"reward_alignment", "overlap"}
    assert len(report.gates) == len(report.findings)


def test_a_bootstrap_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(2, 3, 400)
    found = intervals.mean(values, 4_000, 0)
    half = 1.96 * values.std(ddof=1) / 20
    assert found.figure == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert intervals.mean(values, 4_000, 0) == found
    assert not intervals.mean(values[:1], 200, 0).bounded
    assert with_bounds(intervals.mean(values[:1], 200, 0), ".1f").endswith("(no interval: 1)")
    assert with_bounds(intervals.mean(values[:0], 200, 0)) == "–"


def test_the_interval_of_a_share_is_the_exact_one_and_has_a_width_where_nothing_was_found() -> None:
    # the bound solves P(X = 0) = .025 of the binomial distribution
    none = intervals.share([False] * 20)
    assert (none.figure, none.low) == (0.0, 0.0)
    assert (1 - none.high) ** 20 == pytest.approx(0.025)
    every = intervals.share([True] * 20)
    assert (every.figure, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(1 - none.high)


def test_the_random_policy_never_answers_its_own_prompt() -> None:
    for n in (2, 3, 8):
        replies = [str(i) for i in range(n)]
        assert sorted(elsewhere(replies)) == replies
        assert all(one != other for one, other in zip(replies, elsewhere(replies), strict=True))


def test_a_policy_is_preferred_as_often_as_recruiters_with_a_known_taste_choose_it() -> None:
    rng, d = np.random.default_rng(0), 8
    a, b = rng.normal(size=(600, d)) / 4, rng.normal(size=(600, d)) / 4
    taste = np.concatenate([[5.0], np.zeros(d - 1)])
    first = rng.random(600) < 1 / (1 + np.exp(-(a - b) @ taste))
    judged: dict[str, Any] = {"differences": a - b, "lower": np.where(first, 1, -4), "upper": np.where(first, 4, -1)}
    names = {"recruiter": np.array([f"r-{i % 10}" for i in range(600)]), "prompt": np.array([f"p-{i}" for i in range(600)])}
    panel = fit_panel(Judged(**judged, position=rng.choice([-1, 1], 600), **names))
    better = np.zeros((300, d))
    better[:, 0] = 0.2  # log-odds of 1 on every prompt
    found = preferred(panel, better, 400, 0)
    assert found.low < 1 / (1 + np.exp(-1)) < found.high
    worse = preferred(panel, -better, 400, 0)
    assert worse.figure == pytest.approx(1 - found.figure, abs=0.02)
