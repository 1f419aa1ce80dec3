"""The evaluation head: it agrees with the primal fit, chooses the right scale and resamples correctly."""

from typing import Literal

import numpy as np

from storage.events import Side
from tests.trainers.preferences import CUTS, answered
from trainers.data.preference import Preference
from trainers.reward.evaluation_head import EvaluationHeadSettings, Judged, bootstrap, fit
from trainers.reward.online import ordinal
from trainers.reward.online.posterior import Answers, most_probable
from trainers.reward.online.settings import HeadSettings


def judged(n: int, dimension: int, seed: int, size: float = 2.0, recruiters: int = 6, careless: int = 0) -> tuple[Judged, np.ndarray]:
    """Judgments by the ordered model and the true weights."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=dimension) * size
    differences = rng.normal(size=(n, dimension)) / np.sqrt(dimension)
    who = rng.integers(recruiters, size=n)
    latent = np.where(who < careless, rng.normal(size=n) * 4, differences @ weights)
    levels = np.array([ordinal.levels(*answered(rng, z)) for z in latent])
    names, prompts = np.array([f"r-{i}" for i in who]), np.array([f"c-{i}" for i in rng.integers(n, size=n)])
    return Judged(differences, levels[:, 0], levels[:, 1], rng.choice([-1, 0, 1], size=n), names, prompts), weights


def test_the_dual_fit_finds_the_weights_that_the_primal_one_finds() -> None:
    data, _ = judged(80, 150, seed=1)
    head = HeadSettings(pull_scale=1e-6)  # the primal form has no pull of single recruiters
    found = fit(data, EvaluationHeadSettings(scales=(0.7,), rounds=0, head=head))
    size = (data.differences**2).sum(axis=1).mean()
    low, high = ordinal.interval(data.lower, data.upper, CUTS)
    answers = Answers(np.column_stack([data.differences, data.position]), low, high, np.zeros(80), np.full(80, 0.9))
    precision = np.append(np.full(150, size / 0.7**2), 1 / head.position_scale**2)
    assert np.abs(found.weights - most_probable(answers, precision)[:-1]).max() < 1e-5


def test_counts_are_the_same_as_repeating_judgments() -> None:
    data, _ = judged(40, 30, seed=2)
    counts = np.random.default_rng(0).integers(0, 3, size=40)
    again = np.repeat(np.arange(40), counts)
    repeated = Judged(*(getattr(data, name)[again] for name in Judged.__dataclass_fields__))
    settings = EvaluationHeadSettings(scales=(0.5,), rounds=0)
    size = np.sqrt((data.differences**2).sum(axis=1).mean() / (repeated.differences**2).sum(axis=1).mean())
    one = fit(data, settings, counts.astype(float))
    other = fit(repeated, EvaluationHeadSettings(scales=(0.5 / size,), rounds=0))  # the scale is relative to the data's typical size
    assert np.abs(one.weights - other.weights).max() < 1e-4


def test_the_marginal_likelihood_chooses_a_larger_scale_where_tastes_are_strong() -> None:
    settings = EvaluationHeadSettings(scales=(0.1, 0.5, 2.5), scale_center=0.5, scale_spread=10)
    weak, strong = (fit(judged(200, 40, seed=3, size=size)[0], settings).scale for size in (0.05, 5.0))
    assert weak < strong == 2.5


def test_weights_from_150_judgments_generalise() -> None:
    data, weights = judged(150, 60, seed=4, size=3.0)
    fresh = np.random.default_rng(1).normal(size=(2_000, 60))
    margins = fit(data).margins(fresh)
    assert ((margins > 0) == (fresh @ weights > 0)).mean() > 0.7  # chance .5; standard error .01


def test_a_recruiter_who_answers_at_random_weighs_less() -> None:
    data, _ = judged(400, 10, seed=5, size=5.0, careless=1)
    lapses = fit(data).lapses
    assert lapses["r-0"] > 1.5 * max(lapse for name, lapse in lapses.items() if name != "r-0")


def test_exchanging_sides_gives_exactly_the_same_weights() -> None:
    data, _ = judged(60, 40, seed=6)
    turned = Judged(-data.differences, -data.upper, -data.lower, -data.position, data.recruiter, data.prompt)
    assert np.array_equal(fit(data).weights, fit(turned).weights)


def test_bootstrap_heads_are_reproducible_and_spread_around_the_estimate() -> None:
    data, _ = judged(150, 8, seed=7, recruiters=30)
    heads = np.array([head.weights for head in bootstrap(data, draws=60, seed=1)])
    assert np.array_equal(heads, [head.weights for head in bootstrap(data, draws=60, seed=1)])
    spread = heads.std(axis=0)
    assert (np.abs(heads.mean(axis=0) - fit(data).weights) < spread).all()
    assert (spread > 0.05 * np.abs(fit(data).weights).mean()).all()


def test_comparisons_become_judgments_oriented_towards_a() -> None:
    def comparison(choice: Literal["A", "B", "tie"], strength: int | None, first: Side | None) -> Preference:
        return Preference((), "a", "b", choice, "evaluation", "c-1", strength, "r-1", first)

    found = Judged.of([comparison("A", 2, "A"), comparison("B", None, "B"), comparison("tie", None, None)], np.eye(3), np.zeros((3, 3)))
    assert found.lower.tolist() == [2, -4, 0]
    assert found.upper.tolist() == [2, -1, 0]
    assert found.position.tolist() == [1, -1, 0]
    assert np.array_equal(found.differences, np.eye(3))
