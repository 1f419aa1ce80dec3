"""The online head against independent computations, and its guarantees."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit
from threadpoolctl import threadpool_limits

from storage.errors import ArtifactError, EventError
from tests.profiles import examples
from tests.trainers.preferences import CUTS, EMBEDDING, Truth, changed, drawn, preference, preference_in, removal, swapped
from trainers.data.preference import DecisiveChoice, Entry, Features
from trainers.reward.online import history, ordinal
from trainers.reward.online.learn import Head, head_id, learn, learn_all, load, new_head, predict, projected_mode, reconcile, save
from trainers.reward.online.settings import HeadSettings

D = 12


def fresh(**values: object) -> Head:
    return new_head(HeadSettings.model_validate(values), EMBEDDING, D, ("product",))


def triangle(head: Head) -> np.ndarray:
    return np.tril(head.overall.covariance)


def same_bits(one: Head, other: Head) -> bool:
    same_arrays = np.array_equal(one.overall.mean, other.overall.mean) and np.array_equal(triangle(one), triangle(other))
    return bool(same_arrays and one.sequence == other.sequence)


def apart(one: Head, other: Head) -> float:
    """The largest difference between the weights."""
    return float(np.abs(one.overall.mean - other.overall.mean).max())


def test_the_same_preferences_give_the_same_weights_bit_by_bit_however_they_are_batched() -> None:
    events = drawn(130, D, seed=1)
    start = fresh(reconcile_every=50)
    at_once = learn_all(start, events)
    one_by_one = start
    for event in events:
        one_by_one = learn(one_by_one, event)
    in_parts = learn_all(learn_all(start, events[:49]), events[49:])
    assert same_bits(at_once, one_by_one)
    assert same_bits(at_once, in_parts)
    assert at_once.prequential == one_by_one.prequential
    assert at_once.overall.recruiters == one_by_one.overall.recruiters


def test_a_history_keeps_its_judgments_however_it_is_cut_and_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settled, in the tail or shared with a longer history: the rows are those that were learnt."""
    monkeypatch.setattr(history, "FOLD_AT", 20)
    events = drawn(70, D, seed=8)
    heads = [fresh(reconcile_every=10_000)]
    for event in events:
        heads.append(learn(heads[-1], event))
    assert (len(heads[70].history.shards), len(heads[70].history.tail)) == (3, 10)
    other = learn_all(heads[65], [replace(event, removes=3, preference=None) for event in events[65:66]])  # a second successor of a tail
    for n in (19, 20, 21, 65, 70):
        past = heads[n].history
        assert past.rows()["sequence"].tolist() == list(range(1, n + 1))
        assert np.array_equal(past.differences(), heads[70].history.differences()[:n])
        assert [int(row["sequence"]) for row, _ in past.after(17)] == list(range(18, n + 1))
        assert past.through(30).rows()["sequence"].tolist() == list(range(1, min(n, 30) + 1))
        assert np.array_equal(past.through(30).differences(), past.differences()[:30])
        for sequence in (1, 19, n):
            found = past.find(sequence)
            assert found is not None
            assert np.array_equal(found[1], past.differences()[sequence - 1])
    assert other.history.rows()["sequence"].tolist() == [1, 2, *range(4, 66)]
    assert all(heads[70].history.counts_pair(int(row["pair"])) for row in heads[70].history.rows())


def test_one_more_judgment_does_not_cost_more_in_a_long_tail() -> None:
    """Appending shares the list of judgments, so that a thousand of them are not copied a thousand times."""
    events = drawn(300, D, seed=9)
    head = learn_all(fresh(reconcile_every=10_000), events[:299])
    assert learn(head, events[299]).history.tail._shared is head.history.tail._shared


def test_the_weights_bits_do_not_depend_on_the_number_of_threads() -> None:
    width = 320  # enough for the library to share the work out
    events = drawn(60, width, seed=1)
    start = new_head(HeadSettings(reconcile_every=50), EMBEDDING, width, ("product",))
    heads = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            heads.append(learn_all(start, events))
    with ThreadPoolExecutor(2) as pool:  # nor on which thread learns, or on how many do at once
        heads += pool.map(lambda _: learn_all(start, events), range(4))
    for head in heads:
        assert same_bits(head, heads[0])
    assert head.overall.mean.any()


def test_learning_leaves_the_head_it_starts_from_as_it_was() -> None:
    events = drawn(40, D, seed=2)
    head = learn_all(fresh(), events[:30])
    mean, covariance, rows = head.overall.mean.copy(), head.overall.covariance.copy(), head.history.rows().tobytes()
    learn_all(head, events[30:])
    learn_all(head, [removal(31, 5)])
    learn_all(head, events[30:35])  # a second future from the same head
    assert np.array_equal(head.overall.mean, mean)
    assert np.array_equal(head.overall.covariance, covariance)
    assert head.history.rows().tobytes() == rows


def test_learning_in_place_gives_the_same_weights_and_a_refused_batch_leaves_them() -> None:
    events = with_objectives(drawn(130, D, seed=1), seed=3)
    start = fresh(reconcile_every=50)
    copied = learn_all(start, events)
    head = start
    for event in events:
        head = learn_all(head, [event], in_place=True)
    for question in head.settings.questions:
        assert np.array_equal(head.tastes[question].mean, copied.tastes[question].mean)
    assert not start.overall.mean.any(), "all questions begin with the same arrays, which stay as they are"
    before = head.overall.mean.copy()
    a, b = np.eye(2, D, dtype="f4")
    broken = changed(preference(132, a, b, "A"), features=Features(EMBEDDING, np.full(D, np.nan), b))
    with pytest.raises(EventError, match="132: its features are not finite"):
        learn_all(head, [preference(131, a, b, "A"), broken], in_place=True)
    assert np.array_equal(head.overall.mean, before)


def test_repeats_are_passed_over_and_a_gap_is_refused() -> None:
    events = drawn(5, D, seed=3)
    head = learn_all(fresh(), events)
    assert same_bits(learn_all(head, events), head)
    with pytest.raises(EventError, match="from 6"):
        learn(head, drawn(7, D, seed=3)[-1])


def test_only_training_judgments_of_the_named_sources_under_the_heads_embedding_teach() -> None:
    a, b = np.eye(2, D, dtype="f4")
    head = fresh()
    judged = preference(1, a, b, "A")
    assert not np.array_equal(learn(head, judged).overall.mean, head.overall.mean)
    foreign = changed(judged, features=Features("f" * 64, a, b))
    simulated = changed(judged, source="simulation")
    for passed_over in (preference(1, a, b, "A", stratum="evaluation"), Entry(1), foreign, simulated):
        after = learn(head, passed_over)
        assert np.array_equal(after.overall.mean, head.overall.mean)
        assert (after.sequence, after.judgments_seen, len(after.history)) == (1, 0, 0)


def test_judgments_that_do_not_count_teach_without_moving_the_threshold() -> None:
    a, b = np.eye(2, D, dtype="f4")
    head = learn_all(fresh(), [preference(1, a, b, "A"), preference(2, a, b, "A", counts=False)])
    assert head.judgments_seen == 1
    assert len(head.history) == 2
    assert learn(head, removal(3, 1)).judgments_seen == 0


@given(
    m=st.floats(-12, 12), v=st.floats(0.01, 50), level=st.integers(-4, 4), whole=st.booleans(), weight=st.floats(0.05, 1)
)  # fmt: skip
@settings(max_examples=examples(80))
def test_a_laplace_step_finds_the_mode_that_a_search_finds(m: float, v: float, level: int, whole: bool, weight: float) -> None:
    lower, upper = (1, 4) if whole and level > 0 else (level, level)
    low, high = (float(x) for x in ordinal.interval(np.array(lower), np.array(upper), CUTS))
    assert ordinal.one_interval(lower, upper, CUTS) == (low, high)

    def minus_density(z: float) -> float:
        return float(-weight * ordinal.log_likelihood(np.array(z), np.array(low), np.array(high)) + (z - m) ** 2 / (2 * v))

    reach = v + 1  # the slope of the log-likelihood is at most 1 in size
    best = minimize_scalar(minus_density, bounds=(m - reach, m + reach), method="bounded", options={"xatol": 1e-9})
    assert projected_mode(m, v, low, high, weight) == pytest.approx(best.x, abs=1e-4)


def test_one_step_agrees_with_numerical_integration_of_the_exact_posterior() -> None:
    a, b = np.zeros((2, 1), "f4")
    a[0] = 1.0
    head = new_head(HeadSettings(prior_scale=0.7), EMBEDDING, 1, ("product",))
    after = learn(head, preference(1, a, b, "A"))

    def density(z: float) -> float:  # the prior lapse rate of .2 is the weight .8
        return float(expit(z - CUTS[0]) ** 0.8 * np.exp(-(z**2) / (2 * 0.7**2)))

    total = quad(density, -8, 8)[0]
    mean = quad(lambda z: z * density(z), -8, 8)[0] / total
    variance = quad(lambda z: (z - mean) ** 2 * density(z), -8, 8)[0] / total
    assert after.overall.mean[0] == pytest.approx(mean, abs=0.02)  # mode against mean: the posterior is slightly skewed
    assert after.overall.covariance[0, 0] == pytest.approx(variance, rel=0.03)


def test_the_covariance_after_a_step_is_the_inverse_of_the_precision_with_the_site_added() -> None:
    events = drawn(20, D, seed=4)
    before, after = learn_all(fresh(), events[:19]), learn_all(fresh(), events)
    row, difference = list(after.history.tail)[-1]
    delta = np.append(difference.astype(float), float(row["position"]))
    full = triangle(before) + np.tril(before.overall.covariance, -1).T
    expected = np.linalg.inv(np.linalg.inv(full) + float(row["site_precision"][0]) * np.outer(delta, delta))
    assert np.allclose(triangle(after), np.tril(expected), atol=1e-12)


def test_reconciliation_finds_the_weights_that_an_independent_optimiser_finds() -> None:
    events = drawn(90, D, seed=5, truth=Truth(np.linspace(-2, 2, D), first=0.4, random=2))
    head = reconcile(learn_all(fresh(), events))
    prior = 1 / np.append(np.full(D, HeadSettings().prior_scale), HeadSettings().position_scale) ** 2

    def minus_log_posterior(weights: np.ndarray, attention: Sequence[float]) -> float:
        total = 0.5 * prior @ weights**2
        for attentive, judgment in zip(attention, map(preference_in, events), strict=True):
            sign = 1 if judgment.shown_first == "A" else -1
            recruiter = head.overall.recruiters[judgment.recruiter or ""]
            assert judgment.features is not None
            difference = (judgment.features.a - judgment.features.b).astype("f2").astype(float) * sign
            z = recruiter.scale * (difference @ weights[:-1] + weights[-1] + recruiter.pull)
            edges = [-np.inf, *(-c for c in reversed(head.overall.cut_points)), *head.overall.cut_points, np.inf]
            first_is_better = judgment.choice == ("A" if sign == 1 else "B")
            if judgment.choice == "tie":
                low, high = edges[4], edges[5]
            elif judgment.strength is None:
                low, high = (edges[5], np.inf) if first_is_better else (-np.inf, edges[4])
            else:
                level = judgment.strength if first_is_better else -judgment.strength
                low, high = edges[level + 4], edges[level + 5]
            total -= attentive * np.log(expit(z - low) - expit(z - high))
        return float(total)

    attention = attention_of(head)
    assert min(attention) < 0.5 < max(attention) < 1
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000}
    best = minimize(minus_log_posterior, np.zeros(D + 1), (attention,), method="L-BFGS-B", options=options)
    assert np.abs(head.overall.mean - best.x).max() < 1e-4
    assert minus_log_posterior(head.overall.mean, attention) <= best.fun + 1e-9


def attention_of(head: Head) -> list[float]:
    """The weight that the reconciliation gave each answer: the precision of its site, as a share of the curvature there."""
    rows, x = head.history.rows(), head.history.differences().astype(float)
    recruiters = [head.overall.recruiters[head.history.names[i]] for i in rows["recruiter"]]
    scale, pull = (np.array([getattr(each, name) for each in recruiters]) for name in ("scale", "pull"))
    z = scale * (x @ head.overall.mean[:-1] + rows["position"] * (head.overall.mean[-1] + pull))
    low, high = ordinal.interval(rows["lower"][:, 0], rows["upper"][:, 0], head.overall.cut_points)
    weights: list[float] = (rows["site_precision"][:, 0] / scale**2 / ordinal.curvature(z, low, high)).tolist()
    return weights


def test_a_reconciled_head_is_the_posterior_of_its_prior_and_rebuilt_sites() -> None:
    head = reconcile(learn_all(fresh(), drawn(60, D, seed=6)))
    rows, differences = head.history.rows(), head.history.differences().astype(float)
    x = np.column_stack([differences, rows["position"]])
    prior = np.diag(1 / np.append(np.full(D, HeadSettings().prior_scale), HeadSettings().position_scale) ** 2)
    covariance = np.linalg.inv(prior + (x * rows["site_precision"][:, :1]).T @ x)
    assert np.allclose(covariance @ (x.T @ rows["site_linear"][:, 0]), head.overall.mean, atol=1e-8)
    assert np.allclose(np.tril(covariance), triangle(head), atol=1e-10)


def test_a_delayed_reconciliation_equals_an_immediate_one_with_the_later_judgments_learnt_on_top() -> None:
    events = drawn(125, D, seed=15)
    events[124] = preference(125, np.ones(D), np.ones(D), "tie", stratum="evaluation")
    late = learn_all(fresh(reconcile_every=100), events)
    at_once = learn_all(reconcile(learn_all(fresh(reconcile_every=100), events[:100])), events[100:124])
    assert np.array_equal(late.overall.mean, at_once.overall.mean)
    assert np.array_equal(triangle(late), triangle(at_once))
    assert late.overall.recruiters == at_once.overall.recruiters
    assert np.array_equal(late.history.rows()["site_linear"], at_once.history.rows()["site_linear"])
    assert late.reconciled_at == 100
    assert late.judgments_seen == at_once.judgments_seen


@pytest.mark.parametrize("at", [40, 52, 62, 70])  # before the first reconciliation, while it is due, where it is taken over, after it
def test_a_removed_judgment_leaves_no_trace_after_the_next_reconciliation(at: int) -> None:
    events = drawn(111, D, seed=7)
    gone = events[20]
    entries = [
        *events[: at - 1],
        removal(at, 21),
        *(replace(e, sequence=e.sequence + 1) for e in events[at - 1 :]),
    ]
    never_seen = [e if e.sequence != 21 else changed(gone, stratum="evaluation") for e in entries]
    never_seen[at - 1] = removal(at, 21)
    start = fresh(reconcile_every=50)
    removed, clean = learn_all(start, entries[:at]), learn_all(start, never_seen[:at])
    assert removed.marked == (at != 62)
    assert removed.judgments_seen == clean.judgments_seen
    assert removed.history.find(21) is None
    with_it = learn_all(start, [*entries[: at - 1], preference(at, np.ones(D), np.ones(D), "tie", stratum="evaluation")])
    assert apart(removed, clean) < 0.4 * apart(with_it, clean)  # most of it at once; the reconciliation at 50 weighed the others by it
    removed, clean = learn_all(start, entries), learn_all(start, never_seen)
    assert (removed.sequence, removed.reconciled_at) == (112, 100)
    assert not removed.marked
    assert apart(removed, clean) <= 1e-8
    assert np.abs(triangle(removed) - triangle(clean)).max() <= 1e-8
    assert removed.overall.recruiters == pytest.approx(clean.overall.recruiters)


def test_many_removals_at_once_give_the_same_bits_and_copy_the_history_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "FOLD_AT", 10)  # so that most judgments are settled
    events = drawn(70, D, seed=9)
    gone = [*range(1, 60, 2), 70, 70, 999]  # one of them twice, and one that was never learnt
    entries = [*events, *(removal(71 + place, number) for place, number in enumerate(gone))]
    copies: list[int] = []
    without = history.History.without

    def counted(self: history.History, numbers: Collection[int]) -> history.History:
        copies.append(len(numbers))
        return without(self, numbers)

    monkeypatch.setattr(history.History, "without", counted)
    start = fresh(reconcile_every=40)
    one_by_one = start
    for entry in entries:
        one_by_one = learn(one_by_one, entry)
    copies.clear()
    at_once = learn_all(start, entries)
    assert copies == [20, 11]  # before and after the reconciliation at 80, which takes effect at 90
    assert same_bits(at_once, one_by_one)
    assert at_once.judgments_seen == one_by_one.judgments_seen == 70 - 31
    assert at_once.history.rows().tobytes() == one_by_one.history.rows().tobytes()


def test_removing_the_latest_judgment_restores_the_head_before_it() -> None:
    events = drawn(31, D, seed=8)
    before = learn_all(fresh(), events[:30])
    after = learn_all(fresh(), [*events, removal(32, 31)])
    assert apart(after, before) < 1e-10
    assert np.abs(triangle(after) - triangle(before)).max() < 1e-10


def test_exchanging_all_sides_mirrors_the_predictions_exactly() -> None:
    events = drawn(130, D, seed=9, truth=Truth(np.linspace(-2, 2, D), first=0.5))
    unknown = [changed(e, shown_first=None) for e in events[:40]]
    events = [*unknown, *events[40:]]
    one, other = (learn_all(fresh(reconcile_every=100), these) for these in (events, swapped(events)))
    assert np.array_equal(one.overall.mean, other.overall.mean)
    pairs = np.random.default_rng(0).normal(size=(30, D))
    here, there = predict(one, pairs), predict(other, -pairs)
    assert np.array_equal(here.a, there.b)
    assert np.array_equal(here.tie, there.tie)
    assert np.array_equal(here.mean, -there.mean)


def test_ties_follow_rao_and_kupper() -> None:
    z, theta = np.linspace(-3, 3, 13), np.exp(CUTS[0])
    a, b = np.exp(z / 2), np.exp(-z / 2)
    spans = [ordinal.interval(np.array(lower), np.array(upper), CUTS) for lower, upper in ((1, 4), (0, 0), (-4, -1))]
    chances = [np.exp(ordinal.log_likelihood(z, low, high)) for low, high in spans]
    assert np.allclose(chances[0], a / (a + theta * b))
    assert np.allclose(chances[1], a * b * (theta**2 - 1) / ((a + theta * b) * (b + theta * a)))
    assert np.allclose(sum(chances), 1)


@given(z=st.floats(-300, 300))
def test_the_levels_probabilities_add_up_to_one_and_their_logarithms_stay_finite(z: float) -> None:
    each = [ordinal.log_likelihood(np.array(z), *ordinal.interval(np.array(k), np.array(k), CUTS)) for k in range(-4, 5)]
    assert np.exp(each).sum() == pytest.approx(1)
    assert np.isfinite(each).all()


def test_the_pull_of_the_side_shown_first_is_recovered_and_kept_out_of_predictions() -> None:
    truth = Truth(np.linspace(-3, 3, D), first=0.8)
    head = reconcile(learn_all(fresh(), drawn(3_000, D, seed=10, truth=truth)))
    pulls = np.mean([recruiter.pull for recruiter in head.overall.recruiters.values()])
    assert head.overall.mean[-1] + pulls == pytest.approx(truth.first, abs=0.12)  # three standard errors at 3,000
    assert predict(head, np.zeros((1, D))).a[0] == predict(head, np.zeros((1, D))).b[0]
    assert np.corrcoef(head.weights, truth.weights)[0, 1] > 0.95


def test_recruiters_who_answer_at_random_are_found_and_count_less() -> None:
    head = reconcile(learn_all(fresh(), drawn(1_500, D, seed=11, truth=Truth(np.linspace(-4, 4, D), random=2))))
    lapses = {name: recruiter.lapse for name, recruiter in head.overall.recruiters.items()}
    careless = {"r-0", "r-1"}
    assert min(lapses[name] for name in careless) > 1.5 * max(lapse for name, lapse in lapses.items() if name not in careless)


def test_the_scales_of_recruiters_are_found_and_their_mean_is_one() -> None:
    truth = Truth(np.linspace(-4, 4, D), scales=(0.4, 0.4, 2.0, 2.0))
    head = reconcile(learn_all(fresh(), drawn(1_500, D, seed=12, truth=truth)))
    scales = {name: recruiter.scale for name, recruiter in head.overall.recruiters.items()}
    assert max(scales["r-0"], scales["r-1"]) < 0.8 * min(scales[f"r-{k}"] for k in range(4, 8))
    assert min(scales["r-2"], scales["r-3"]) > 1.2 * max(scales[f"r-{k}"] for k in range(4, 8))
    names = [head.history.names[i] for i in head.history.rows()["recruiter"]]
    assert np.mean([np.log(scales[name]) for name in names]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("cuts", [(0.4, 1.0, 1.8, 2.8), (0.1, 0.3, 0.5, 4.0), (1.6, 3.0, 3.3, 3.5)])
def test_the_cut_points_are_found(cuts: tuple[float, ...]) -> None:
    events = drawn(3_000, D, seed=13, truth=Truth(np.linspace(-4, 4, D), cuts=cuts))
    head = reconcile(learn_all(fresh(), events))
    assert head.overall.cut_points == pytest.approx(cuts, rel=0.15, abs=0.06)
    share = np.mean([preference_in(event).choice == "tie" for event in events])
    differences = np.array([preference_in(e).features.a - preference_in(e).features.b for e in events])  # type: ignore[union-attr]
    assert predict(head, differences).tie.mean() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("strength", [1, 4])
def test_who_always_clicks_one_strength_does_not_stretch_the_weights(strength: int) -> None:
    truth = Truth(np.linspace(-4, 4, D))
    events = drawn(1_500, D, seed=14, truth=truth)
    clicked = [changed(e, strength=None if preference_in(e).choice == "tie" else strength) for e in events]
    without = [changed(e, strength=None) for e in events]
    one, other = (reconcile(learn_all(fresh(), these)) for these in (clicked, without))
    assert np.linalg.norm(one.weights) == pytest.approx(np.linalg.norm(other.weights), rel=0.1)
    fixed = reconcile(learn_all(fresh(cut_spread=1e-6), clicked))
    ratio = np.linalg.norm(fixed.weights) / np.linalg.norm(other.weights)
    assert ratio < 0.7 if strength == 1 else ratio > 1.3, "the control: fixed cut points are misled"


def test_reconciliations_are_spread_out_geometrically() -> None:
    settings = HeadSettings(reconcile_every=10, reconcile_steadily=30, reconcile_growth=1.5)
    points = sorted({settings.reconciled_through(n) for n in range(400)})
    assert points == [0, 10, 20, 30, 50, 80, 120, 180, 270]  # 270 * 1.5 = 405
    assert HeadSettings().reconciled_through(999_999) == 512_000
    assert len({HeadSettings().reconciled_through(n) for n in range(0, 1_000_000, 500)}) < 22


def test_a_judgment_takes_less_than_a_kilobyte(tmp_path: Path) -> None:
    start = new_head(HeadSettings(reconcile_every=200, rounds=0), EMBEDDING, 400, ("product",))
    events = drawn(600, 400, seed=15)
    sizes = []
    for n in (200, 600):
        head = reconcile(learn_all(start, events[:n]))
        path = save(head, tmp_path / f"{n}" / "head.safetensors")
        sizes.append(sum(file.stat().st_size for file in path.parent.rglob("*.safetensors")))
    assert (sizes[1] - sizes[0]) / 400 < 1_000


def with_objectives(entries: list[Entry], seed: int) -> list[Entry]:
    """Every second entry also answers ``safe``, by another taste; every fourth answers only that."""
    rng, safe = np.random.default_rng(seed), np.linspace(5, -5, D)
    found = []
    for entry in entries:
        judged = preference_in(entry)
        assert judged.features is not None
        latent = float((judged.features.a - judged.features.b) @ safe) + rng.logistic()
        answers: dict[str, DecisiveChoice] = {"safe": "tie" if abs(latent) < 0.4 else "A" if latent > 0 else "B"}
        if entry.sequence % 4 == 0:
            found.append(changed(entry, choice=None, objectives=answers))
        else:
            found.append(changed(entry, objectives=answers) if entry.sequence % 2 == 0 else entry)
    return found


def test_each_objective_learns_from_its_own_answers() -> None:
    plain = drawn(1_200, D, seed=16, truth=Truth(np.linspace(-5, 5, D)))
    head = reconcile(learn_all(fresh(), with_objectives(plain, seed=1)))
    assert np.corrcoef(head.weights, np.linspace(-5, 5, D))[0, 1] > 0.9
    assert np.corrcoef(head.tastes["safe"].weights, np.linspace(5, -5, D))[0, 1] > 0.9
    assert not head.tastes["engaging"].mean.any(), "nobody rated it"
    assert predict(head, np.eye(1, D), "safe").mean[0] == head.tastes["safe"].weights[0]
    without = [e if e.sequence % 4 else Entry(e.sequence) for e in plain]
    overall = reconcile(learn_all(fresh(), without))
    assert apart(head, overall) < 1e-9, "objectives leave the overall taste as it is"
    assert head.judgments_seen == overall.judgments_seen == 900
    assert head.prequential == overall.prequential
    assert head.prequential_of("safe")[0] > 0.6  # type: ignore[operator]


def test_an_objective_forgets_a_removed_judgment_and_is_the_same_after_a_restart(tmp_path: Path) -> None:
    entries = with_objectives(drawn(60, D, seed=17), seed=2)
    head = learn_all(fresh(reconcile_every=40), [*entries, removal(61, 60)])
    before = learn_all(fresh(reconcile_every=40), entries[:59])
    assert np.abs(head.tastes["safe"].mean - before.tastes["safe"].mean).max() < 1e-10
    again = load(save(head, tmp_path / "head.safetensors"))
    more = with_objectives(drawn(120, D, seed=17), seed=2)[61:]
    one, other = learn_all(head, more), learn_all(again, more)
    for question in one.settings.questions:
        assert np.array_equal(one.tastes[question].mean, other.tastes[question].mean)
        assert one.tastes[question].recruiters == other.tastes[question].recruiters
    assert head.tastes["safe"].mean.any()


def test_two_objectives_of_one_name_are_refused() -> None:
    for names in (("safe", "safe"), ("overall",)):
        with pytest.raises(ValidationError, match="objectives have to differ"):
            HeadSettings(objectives=names)


def test_the_prequential_loss_is_measured_and_improves() -> None:
    events = drawn(1_200, D, seed=12, truth=Truth(np.linspace(-3, 3, D)))
    early = learn_all(fresh(prequential_window=100), events[:100])
    late = learn_all(early, events[100:])
    assert fresh().prequential == (None, None, 0)
    sooner, later = early.prequential[1], late.prequential[1]
    assert sooner is not None
    assert later is not None
    assert later < sooner < np.log(2) * 1.2
    assert late.prequential[2] == 100


def test_a_saved_head_goes_on_exactly_where_it_was(tmp_path: Path) -> None:
    events = drawn(130, D, seed=13)
    head = learn_all(fresh(reconcile_every=50), events[:120])
    again = load(save(head, tmp_path / "head.safetensors"))
    assert same_bits(head, again)
    assert again.head_id == head.head_id
    assert same_bits(learn_all(head, [*events[120:], removal(131, 3)]), learn_all(again, [*events[120:], removal(131, 3)]))
    save(learn_all(again, events[120:]), tmp_path / "head.safetensors")
    assert load(tmp_path / "head.safetensors").sequence == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.safetensors", "head.safetensors.history"]  # no half-written file


def test_the_file_alone_predicts_and_a_damaged_history_is_refused(tmp_path: Path) -> None:
    head = learn_all(fresh(reconcile_every=20), drawn(50, D, seed=14))
    path = save(head, tmp_path / "head.safetensors")
    shard = next((tmp_path / "head.safetensors.history").iterdir())
    shard.write_bytes(shard.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ArtifactError, match="learn the preferences from sequence 1"):
        load(path)
    shard.unlink()
    with pytest.raises(ArtifactError):
        load(path)
    pairs = np.eye(3, D)
    assert np.array_equal(predict(load(path, history=False), pairs).a, predict(head, pairs).a)


def test_another_setting_embedding_or_source_is_another_head() -> None:
    ids = {
        head_id(HeadSettings(), EMBEDDING, ("product",)),
        head_id(HeadSettings(prior_scale=2), EMBEDDING, ("product",)),
        head_id(HeadSettings(), "f" * 64, ("product",)),
        head_id(HeadSettings(), EMBEDDING, ("product", "simulation")),
    }
    assert len(ids) == 4
    assert head_id(HeadSettings(), EMBEDDING, ("simulation", "product")) in ids


def test_older_judgments_fade_where_a_half_life_is_set() -> None:
    a, b = np.eye(2, D, dtype="f4")
    events = [preference(n, a, b, "A" if n <= 20 else "B") for n in range(1, 41)]  # a minute apart
    lasting, fading = (reconcile(learn_all(fresh(**values), events)) for values in ({}, {"half_life_days": 5 / 1_440}))
    assert abs(lasting.weights @ (a - b)) < 1e-6
    assert fading.weights @ (a - b) < -0.5
