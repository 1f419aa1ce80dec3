"""The panel's posterior: it agrees with the primal fit and with plain matrices, fits lapses and leaves judgments out correctly."""

from typing import Literal

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit

from storage.events import Side
from tests.trainers.preferences import CUTS, answered
from trainers.data.preference import Preference
from trainers.reward.online import ordinal
from trainers.reward.online.posterior import Answers as PrimalAnswers
from trainers.reward.online.posterior import most_probable
from trainers.reward.panel import Judged, PanelSettings, cross_validated, fit_panel
from trainers.reward.panel import covariance as covariance_module
from trainers.reward.panel.answers import LEAST_CURVATURE, Answers
from trainers.reward.panel.calibration import without_group
from trainers.reward.panel.covariance import Columns, Design, Gram
from trainers.reward.panel.posterior import half_ties, newton

pytestmark = pytest.mark.training

NO_LAPSES = PanelSettings(lapsed=1e-9)


def judged(n: int, dimension: int, seed: int, size: float = 2.0, recruiters: int = 6, careless: int = 0) -> tuple[Judged, np.ndarray]:
    """Judgments by the ordered model, those of the first ``careless`` recruiters at random, and the true weights."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=dimension) * size
    differences = rng.normal(size=(n, dimension)) / np.sqrt(dimension)
    who = np.sort(rng.integers(recruiters, size=n))
    latent = np.where(who < careless, rng.normal(size=n) * 4, differences @ weights)
    levels = np.array([ordinal.levels(*answered(rng, z)) for z in latent])
    names, prompts = np.array([f"r-{i}" for i in who]), np.array([f"c-{i}" for i in rng.integers(n, size=n)])
    return Judged(differences, levels[:, 0], levels[:, 1], rng.choice([-1, 0, 1], size=n), names, prompts), weights


def test_the_inverse_equals_that_of_the_plain_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = judged(60, 7, seed=1)
    data = data.at(np.argsort(np.where(data.recruiter < "r-3", "r-0", data.recruiter), kind="stable"))
    data = Judged(
        **{**vars(data), "recruiter": np.sort(np.where(data.recruiter < "r-3", "r-0", np.where(data.recruiter == "r-5", "r-6", "r-4")))}
    )
    data = data.at(np.concatenate([np.arange(50), [58]]))  # the last recruiter judges less often than there are features
    rng = np.random.default_rng(0)
    precision, vectors, along = rng.uniform(0.01, 0.5, 51), rng.normal(size=(51, 3)), rng.normal(size=51)
    x, p = data.differences / np.sqrt((data.differences**2).sum(axis=1).mean()), data.position
    same = data.recruiter[:, None] == data.recruiter[None, :]
    plain = x @ x.T * (0.7**2 + 0.4**2 * same) + np.outer(p, p) * (0.5**2 + 0.3**2 * same) + np.outer(along, along)
    inverse = np.linalg.inv(plain + np.diag(1 / precision))
    groups = [np.array([0, 50, 20]), np.array([3, 4])]
    for few in (0, 100):
        monkeypatch.setattr(covariance_module, "FEW", few)
        covariance = Design.of(data).covariance(0.7, 0.4, 0.5, 0.3, along)
        if not few:
            assert {type(own) for own in covariance.own} == {Gram, Columns}
        found = covariance.with_precision(precision)
        assert np.allclose(covariance.times(vectors), plain @ vectors, atol=1e-10)
        assert np.allclose(found.times(vectors), inverse @ vectors, atol=1e-10)
        assert np.allclose(found.times(along), inverse @ along, atol=1e-10)
        assert np.allclose(found.diagonal(), np.diag(inverse), atol=1e-10)
        assert found.log_determinant == pytest.approx(np.linalg.slogdet(np.eye(51) + plain * precision)[1])
        for at, square in zip(groups, found.groups(groups), strict=True):
            assert np.allclose(square, inverse[np.ix_(at, at)], atol=1e-10)


def test_the_panels_taste_is_what_the_primal_fit_finds() -> None:
    data, _ = judged(80, 150, seed=1)
    alike = {"scales": (0.7,), "own_scales": (1e-4,), "pull_scale": 1e-6, "cut_spread": 1e-6}  # the primal form has no single recruiters
    settings = NO_LAPSES.model_copy(update=alike)
    found = fit_panel(data, settings)
    size = (data.differences**2).sum(axis=1).mean()
    low, high = ordinal.interval(data.lower, data.upper, CUTS)
    answers = PrimalAnswers(np.column_stack([data.differences, data.position]), low, high, np.zeros(80), np.ones(80))
    precision = np.append(np.full(150, size / 0.7**2), 1 / settings.position_scale**2)
    weights = most_probable(answers, precision)[:-1]
    assert np.abs(found.margins(np.eye(150)) - weights).max() < 1e-4 * np.abs(weights).max()


def test_many_judgments_give_the_same_panel_in_blocks_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = judged(300, 20, seed=3, careless=1)
    fresh = np.random.default_rng(1).normal(size=(50, 20)) + 0.3
    found = []
    for few in (0, 1_000):
        monkeypatch.setattr(covariance_module, "FEW", few)
        panel = fit_panel(data)
        found.append((panel.cut_points, cross_validated(panel).slope, panel.lapses, panel.towards(fresh).win_rates(fresh, 60, 0)[0]))
    for in_blocks, in_one in zip(*found, strict=True):
        assert np.allclose(in_blocks, in_one, atol=1e-5)


def test_the_margins_are_those_of_the_draws() -> None:
    data, _ = judged(120, 5, seed=9)
    panel = fit_panel(data).towards(np.full((1, 5), 0.2))
    ours = np.random.default_rng(1).normal(size=(4, 5))
    drawn = (
        np.concatenate([panel._tastes(site, int(4_000 * site.weight), np.random.default_rng(2)) for site in panel.sites]).mean(axis=1)
        @ ours.T
    )
    assert np.abs(panel.margins(ours) - drawn.mean(axis=0)).max() < 5 * drawn.std(axis=0).max() / np.sqrt(4_000)


def test_left_out_conversations_are_predicted_as_by_a_panel_that_never_saw_them() -> None:
    data, _ = judged(60, 8, seed=4)
    panel = fit_panel(data)
    site, settings = panel.best, panel.settings
    members = [np.array([0, 1, 40]), np.array([7])]
    mean, offset, variance = without_group(panel, members)
    x, p = panel.design.features, panel.design.position
    same = panel.design.who[:, None] == panel.design.who[None, :]
    taste = x @ x.T * (site.scale**2 + site.own_scale**2 * same)
    position = np.outer(p, p) * (settings.position_scale**2 + settings.pull_scale**2 * same)
    for at in members:
        rest = np.setdiff1d(np.arange(60), at)
        inverse = np.linalg.inv((taste + position)[np.ix_(rest, rest)] + np.diag(1 / site.precision[rest]))
        gain = inverse @ site.target[rest]
        assert np.allclose(mean[at], taste[np.ix_(at, rest)] @ gain, atol=1e-8)
        assert np.allclose(offset[at], position[np.ix_(at, rest)] @ gain, atol=1e-8)
        both = (taste + position)[np.ix_(at, rest)]
        assert np.allclose(variance[at], np.diag((taste + position)[np.ix_(at, at)] - both @ inverse @ both.T), atol=1e-8)


def test_derivatives_of_answers_with_lapses_are_those_of_their_likelihood() -> None:
    low, high = ordinal.interval([1, -4, 0], [4, -2, 0], CUTS)
    answers = Answers(low, high, np.array([0.1, 0.3, 0.05]), np.array([4, 3, 1]) / 9)
    assert np.exp(answers.log_likelihood(np.zeros(3)))[2] == pytest.approx(0.95 * (2 / (1 + np.exp(-CUTS[0])) - 1) + 0.05 / 9)
    for z in (-2.0, 0.3, 1.0):
        for i in range(3):
            one = Answers(*(values[i : i + 1] for values in (low, high, answers.lapse, answers.chance)))
            slope = approx_fprime(np.array([z]), lambda at, one=one: float(one.log_likelihood(at)[0]), 1e-6)
            assert one.slope(np.array([z])) == pytest.approx(slope, abs=1e-5)
            second = -approx_fprime(np.array([z]), lambda at, one=one: float(one.slope(at)[0]), 1e-6)
            assert one.curvature(np.array([z])) == pytest.approx(np.maximum(second, LEAST_CURVATURE), abs=1e-5)


def test_newton_finds_where_the_gradient_with_lapses_vanishes() -> None:
    data, _ = judged(100, 6, seed=5, size=8.0)
    covariance = Design.of(data).covariance(1.0, 0.4, 0.5, 0.3)
    answers = Answers.of(data, CUTS, np.full(100, 0.3))
    mode = newton(covariance, answers, np.zeros(100))
    assert np.abs(answers.slope(mode.latent) - mode.dual).max() < 1e-4  # the mode: K⁻¹ f equals the likelihood's gradient


def test_a_recruiter_who_answers_at_random_gets_a_higher_lapse_rate_and_wins_half_the_time_in_lapses() -> None:
    data, weights = judged(600, 6, seed=6, size=6.0, careless=1)
    panel = fit_panel(data)
    lapses = panel.lapses[:, 0] / panel.lapses.sum(axis=1)
    assert lapses[0] > 2 * lapses[1:].max()
    sure = np.tile(weights / np.linalg.norm(weights) * 20, (5, 1))  # every taste is certain to prefer the first
    rates = panel.win_rates(sure, 400, 0)[0].mean(axis=0)
    assert rates[1:] == pytest.approx(1 - lapses[1:] / 2, abs=0.01)


def test_half_ties_is_the_mean_of_two_sigmoids() -> None:
    z = np.array([-900.0, -3.0, 0.0, 0.4, 60.0])
    assert half_ties(z, 0.6) == pytest.approx((expit(z - 0.6) + expit(z + 0.6)) / 2 - 0.5)


def test_comparisons_become_judgments_oriented_towards_a() -> None:
    def comparison(choice: Literal["A", "B", "tie"], strength: int | None, first: Side | None) -> Preference:
        return Preference((), "a", "b", choice, "evaluation", "c-1", strength, "r-1", first)

    found = Judged.of([comparison("A", 2, "A"), comparison("B", None, "B"), comparison("tie", None, None)], np.eye(3), np.zeros((3, 3)))
    assert found.lower.tolist() == [2, -4, 0]
    assert found.upper.tolist() == [2, -1, 0]
    assert found.position.tolist() == [1, -1, 0]
    assert np.array_equal(found.differences, np.eye(3))
