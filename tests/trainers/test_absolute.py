"""The absolute term: its fit, when it is used as a floor, and what the floor does to rankings and comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm

from feedbackloop import RewardModel
from storage.errors import ArtifactError
from storage.settings import Common, Settings
from tests.trainers.conftest import said
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.features.embedding import Item
from trainers.reward.absolute import FILE, PRIOR_DEVIATION, PRIOR_MEAN, AbsoluteTerm, most_probable
from trainers.reward.ensemble import EnsembleReward
from trainers.reward.guarded import GuardedReward, guarded, guarded_model, without_floor
from trainers.reward.mixing import MixingSettings
from trainers.reward.online.head import Prediction
from trainers.reward.reward import Reward, scores_alone, spread_of
from trainers.reward.validation import fitted_and_validated, read_report

SETTINGS = MixingSettings()


@dataclass
class Numbered:
    """A reward that reads its score from the reply: "It is on day 3." has 3."""

    about: Mapping[str, float | str] = field(default_factory=dict)

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        return np.array([float(text.split()[4].rstrip(".")) for _, text in items])

    def compare(self, first: Sequence[Item], second: Sequence[Item]) -> Prediction:
        mean = self.scores(first) - self.scores(second)
        tie = np.full(len(mean), 0.1)
        return Prediction(mean, np.ones(len(mean)), 0.9 * expit(mean), tie, 0.9 * expit(-mean))

    def save(self, path: Path) -> Path:
        path.mkdir(exist_ok=True)
        return path


def reply(score: float) -> str:
    return f"It is on day {score:.4f}."


def judged(n: int = 60) -> list[Preference]:
    """Pairs with scores around 10, of which the better is preferred."""
    draw = np.random.default_rng(0)
    found = []
    for i in range(n):
        low, high = np.sort(draw.normal(10, 2, size=2))
        found.append(replace(Preference.of_replies(said(f"Which day, number {i}?"), reply(high), reply(low)), stratum="training"))
    return found


def rating(n: int, score: float, good: bool) -> Rating:
    return Rating(said(f"When, number {n}?"), reply(score), good, "training", f"c-{n}")


def ratings(n: int, a: float, b: float, seed: int = 1) -> list[Rating]:
    """Ratings drawn from the term with a and b, for x = (score - 10) / 2.5."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 1, size=n)
    good = draw.random(n) < expit(a + b * x)
    return [rating(i, 10 + 2.5 * x[i], bool(good[i])) for i in range(n)]


def learnt(some: Sequence[Rating], settings: MixingSettings = SETTINGS) -> AbsoluteTerm:
    found = AbsoluteTerm.learnt(Numbered(), judged(), some, settings)
    assert found is not None
    numbers = [value for value in found.model_dump().values() if isinstance(value, float)]
    assert np.isfinite(numbers).all()
    return found


def test_a_and_b_of_simulated_ratings_are_recovered_within_their_uncertainty() -> None:
    draw = np.random.default_rng(2)
    x = draw.normal(size=4000)
    good = (draw.random(4000) < expit(0.7 + 1.4 * x)).astype(float)
    found, covariance = most_probable(x, good)
    assert np.all(np.abs(found - [0.7, 1.4]) < 3 * np.sqrt(np.diag(covariance)))
    assert np.sqrt(np.diag(covariance)) == pytest.approx([0.04, 0.05], abs=0.01)  # 1 / sqrt(n p (1 - p)) and a little more


def test_the_fit_is_the_minimum_that_a_general_optimiser_finds() -> None:
    draw = np.random.default_rng(3)
    x, good = 5 * draw.normal(size=40), (draw.random(40) < 0.3).astype(float)

    def objective(at: np.ndarray) -> float:
        logits = at[0] + at[1] * x
        prior = (((at - PRIOR_MEAN) / PRIOR_DEVIATION) ** 2).sum() / 2
        return float(np.logaddexp(0, -np.where(good == 1, 1, -1) * logits).sum() + prior)

    reference = minimize(objective, PRIOR_MEAN, method="BFGS", options={"gtol": 1e-9})
    found, covariance = most_probable(x, good)
    assert found == pytest.approx(reference.x, abs=1e-5)
    steps = 1e-4 * np.eye(2)
    hessian = [[sum(i * j * objective(found + i * one + j * other) for i in (1, -1) for j in (1, -1)) for other in steps] for one in steps]
    assert np.linalg.inv(covariance) == pytest.approx(np.array(hessian) / 4e-8, rel=1e-3)  # central differences
    prior, spread = most_probable(np.array([]), np.array([]))
    assert (prior.tolist(), np.sqrt(np.diag(spread)).tolist()) == ([0, 1], pytest.approx([1.5, 0.5]))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e3, 1e6])
def test_the_fit_converges_whatever_the_scores(scale: float) -> None:
    x = scale * np.linspace(-1, 1, 50)
    for good in (x > 0, x < 0, x == x, x != x):
        found, covariance = most_probable(x, good.astype(float))
        assert np.isfinite(found).all()
        assert np.all(np.linalg.eigvalsh(covariance) > -1e-12)


def test_the_origin_and_scale_of_a_reward_change_nothing() -> None:
    class Moved(Numbered):
        def scores(self, items: Sequence[Item]) -> np.ndarray:
            return 7 * super().scores(items) - 300

    some = ratings(150, 1, 1.2)
    plain, moved = learnt(some), AbsoluteTerm.learnt(Moved(), judged(), some, SETTINGS)
    assert moved is not None
    assert (moved.a, moved.b, moved.log_loss) == pytest.approx((plain.a, plain.b, plain.log_loss))
    assert moved.lower_bound(np.array([-237.0])) == pytest.approx(plain.lower_bound(np.array([9.0])))


def test_the_lower_bound_has_the_value_of_its_formula() -> None:
    term = learnt(ratings(150, 1, 1.2))
    at = np.array([3.0, 10.0, 14.0])
    x = (at - term.centre) / term.spread
    draws = np.random.default_rng(0).multivariate_normal(
        [term.a, term.b], [[term.variance_a, term.covariance], [term.covariance, term.variance_b]], size=200_000
    )
    logits = draws[:, :1] + draws[:, 1:] * x
    assert term.lower_bound(at) == pytest.approx(expit(logits.mean(axis=0) - norm.ppf(term.confidence) * logits.std(axis=0)), abs=0.003)
    assert term.probability(at) == pytest.approx(expit(term.a + term.b * x))
    assert np.all(term.lower_bound(at) < term.probability(at))


def test_ratings_that_the_score_explains_make_a_floor() -> None:
    term = learnt(ratings(200, 1, 1.5))
    assert term.unused is None
    assert term.log_loss < term.base_log_loss
    assert "; in use as a floor: a reply whose P(good) may be below 0.2 ranks last" in term.as_text()
    assert term.below_floor(np.array([0.0, 10.0, 14.0])).tolist() == [True, False, False]


def test_99_ratings_are_too_few_and_100_are_enough() -> None:
    some = ratings(100, 1, 1.5)
    assert learnt(some).unused is None
    few = learnt(some[:99])
    assert few.unused == "100 ratings of the training stratum are needed"
    assert "; not in use as a floor: 100 ratings of the training stratum are needed" in few.as_text()
    assert not few.below_floor(np.array([-50.0])).any()
    held_out = [*some[:99], *(replace(each, stratum="evaluation") for each in some)]
    assert learnt(held_out) == few  # the evaluation stratum is never trained on
    assert learnt(some[:99], MixingSettings(least_ratings=99)).unused is None
    assert AbsoluteTerm.learnt(Numbered(), judged(), [], SETTINGS) is None


@pytest.mark.parametrize("good", [True, False])
def test_ratings_that_all_say_the_same_make_no_floor(good: bool) -> None:
    term = learnt([replace(each, good=good) for each in ratings(150, 1, 1)])
    assert term.unused == "it predicts held-out ratings worse than their base rate"
    assert (term.a > 0) is good


def test_ratings_that_contradict_each_other_make_no_floor() -> None:
    both = [each for one in ratings(80, 1, 1) for each in (replace(one, good=True), replace(one, good=False))]
    term = learnt(both)
    assert term.b == pytest.approx(0, abs=0.2)  # the prior says 1
    assert term.unused == "it predicts held-out ratings worse than their base rate"


def test_thumbs_down_alone_on_bad_replies_do_not_refuse_the_average_one() -> None:
    term = learnt([*ratings(150, -2, 1.5), *(rating(1000 + i, 18, True) for i in range(10))])
    assert term.unused == "even the average judged reply would be below 0.2, perhaps for lack of thumbs up"


def test_one_rating_is_reported_and_not_used() -> None:
    term = learnt([rating(1, 12, False)])
    assert (term.ratings, term.good, term.unused is None) == (1, 0, False)


def model_with(some: Sequence[Rating], model: Reward | None = None) -> GuardedReward:
    return guarded_model(model or Numbered(), judged(), some, Settings(Common()))


def rejected_high(n: int) -> list[Rating]:
    """Recruiters reject what the score likes: replies with more than 14 of about 10."""
    return [rating(i, 16 + i % 3, False) if i % 2 else rating(i, 8 + i % 3, True) for i in range(n)]


def test_a_bad_reply_is_ranked_last_by_the_floor_although_the_score_likes_it_but_not_with_99_ratings() -> None:
    items: list[Item] = [(said("When?"), reply(score)) for score in (9, 17, 10)]
    assert np.argsort(Numbered().scores(items)).tolist() == [0, 2, 1]
    assert np.argsort(model_with(rejected_high(100)).scores(items)).tolist() == [1, 0, 2]
    unused = model_with(rejected_high(99))
    assert unused.scores(items) == pytest.approx(model_with([]).scores(items))
    assert np.argsort(unused.scores(items)).tolist() == [0, 2, 1]


def test_what_the_rules_refuse_stays_behind_what_the_floor_refuses() -> None:
    model = model_with(ratings(200, 1, 1.5))
    items: list[Item] = [(said("When?"), text) for text in (reply(0), reply(12) + " Do you have children?", reply(10))]
    scores = model.scores(items)
    assert np.argsort(scores).tolist() == [1, 0, 2]
    assert scores[2] - scores[0] == pytest.approx(10 + 20 * model.guard.spread)


def test_the_floor_does_not_widen_the_unit_of_the_audits() -> None:
    some = [*judged(), replace(judged()[0], a=reply(0), b=reply(12))]
    model, plain = model_with(ratings(200, 1, 1.5)), model_with([])
    assert spread_of(model, some) > 2 * spread_of(plain, some)
    assert spread_of(without_floor(model), some) == spread_of(plain, some)


def test_swapped_sides_give_the_mirrored_prediction_and_agree_with_the_scores() -> None:
    model = model_with(ratings(200, 1, 1.5))
    first: list[Item] = [(said("When?"), reply(score)) for score in (0, 12, 0, 11)]
    second: list[Item] = [(said("When?"), reply(score)) for score in (12, 0, -1, 12)]
    straight, swapped = model.compare(first, second), model.compare(second, first)
    assert straight.mean == pytest.approx(-swapped.mean)
    assert straight.mean == pytest.approx(model.scores(first) - model.scores(second))
    assert straight.a == pytest.approx(swapped.b)
    assert straight.a + straight.tie + straight.b == pytest.approx(1)
    plain = Numbered().compare(first, second)
    assert (straight.a[0] < 1e-9, straight.a[1] > 0.89) == (True, True)
    assert straight.a[2:].tolist() == plain.a[2:].tolist()  # both below the floor, or neither


def test_in_an_ensemble_a_reply_is_below_the_floor_whatever_it_is_ranked_with() -> None:
    members: list[tuple[str, Reward]] = [("head", Numbered()), ("head", Numbered())]
    model = model_with(ratings(200, 1, 1.5), EnsembleReward(members, "mean_minus_variance", 0.5))
    items: list[Item] = [(said("When?"), reply(score)) for score in (0, 10, 11)]
    assert scores_alone(model.model, items).tolist() == [0, 10, 11]
    alone, together = model.scores(items[:1]), model.scores(items)
    assert alone[0] == pytest.approx(-20 * model.guard.spread)
    assert together[1] - together[0] == pytest.approx(10 + 20 * model.guard.spread)
    assert model.compare(items[:1], items[1:2]).mean == pytest.approx(together[:1] - together[1:2])


def test_it_is_saved_beside_the_model_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    model = model_with(ratings(200, 1, 1.5))
    folder = model.save(tmp_path / "model")
    again = guarded(Numbered(), folder)
    assert isinstance(again, GuardedReward)
    assert (again.absolute, again.guard) == (model.absolute, model.guard)
    items: list[Item] = [(said("When?"), reply(score)) for score in (0, 10)]
    assert again.scores(items).tolist() == model.scores(items).tolist()
    whole = orjson.loads((folder / FILE).read_bytes())
    for broken in (b"{", orjson.dumps(whole | {"spread": 0}), orjson.dumps(whole | {"a": None}), orjson.dumps(whole | {"c": 1})):
        (folder / FILE).write_bytes(broken)
        with pytest.raises(ArtifactError, match=r"absolute\.json: no absolute term to be read there: .*; train the model again"):
            guarded(Numbered(), folder)
    (folder / FILE).write_bytes(orjson.dumps(whole | {"spread": 0}))
    with pytest.raises(ArtifactError, match="spread: Input should be greater than 0"):
        guarded(Numbered(), folder)
    GuardedReward(Numbered(), model.guard).save(folder)  # trained again, without ratings
    assert not (folder / FILE).exists()
    assert isinstance(guarded(Numbered(), folder), GuardedReward)


def dated(n: int) -> tuple[list[Preference], list[Rating]]:
    """Replies with a day are preferred, and good by themselves; vague ones are not."""
    preferences, some = [], []
    for i in range(n):
        prompt = said(f"When is my interview, number {i}?")
        day, vague = f"It is on {('Monday', 'Friday')[i % 2]} at {8 + i % 9}, {i}.", f"We will tell you some other time, {i}."
        preferences.append(Preference.of_replies(prompt, day, vague))
        some += [Rating.of_reply(prompt, day, i % 9 != 0), Rating.of_reply(prompt, vague, i % 9 == 0)]
    return preferences, some


@pytest.mark.training
def test_a_trained_head_has_the_term_in_its_report_and_after_loading(tiny_encoder: dict[str, Path], tmp_path: Path) -> None:
    preferences, some = dated(120)
    settings = Settings.read(tmp_path, {}).with_values(features=tiny_encoder)
    report = fitted_and_validated(preferences, settings, "head", tmp_path, ratings=some, cross_validate=False)
    term = report.absolute
    assert term is not None
    assert (term.ratings, term.unused) == (sum(each.stratum == "training" for each in some), None)
    assert term.log_loss < term.base_log_loss
    assert term.as_text() in report.as_text()
    assert read_report(tmp_path / "reward") == report
    model = RewardModel.load(tmp_path / "reward", settings)
    question, replies = "When is my interview?", ["It is on Friday at 9.", "We will tell you some other time."]
    day, vague = model.score(question, replies)
    assert isinstance(model.reward, GuardedReward)
    assert day - vague > 20 * model.reward.guard.spread
    fitted = RewardModel.fit(preferences, settings, ratings=some)
    assert fitted.score(question, replies) == pytest.approx([day, vague])
    without = report.model_copy(update={"absolute": None})
    assert 'absolute term: none (no thumbs and no "neither" to train on)' in without.as_text()
