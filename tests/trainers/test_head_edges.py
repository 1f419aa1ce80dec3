"""What the head makes of strange judgments: a wide posterior and moderate probabilities, never a silent nonsense score."""

import numpy as np
import pytest

from tests.trainers.preferences import EMBEDDING, changed, drawn, preference
from trainers.data.preference import Entry
from trainers.reward.head_report import head_report
from trainers.reward.online.head import Head, Prediction, predict
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings

D = 12
UNSEEN = np.random.default_rng(8).normal(size=(200, D)) / np.sqrt(D)


def learnt(entries: list[Entry]) -> Head:
    return reconcile(learn_all(new_head(HeadSettings(), EMBEDDING, D, ("product",)), entries))


def answered(prediction: Prediction) -> np.ndarray:
    found = np.array([prediction.a, prediction.tie, prediction.b])
    assert np.isfinite(found).all()
    assert found.sum(axis=0) == pytest.approx(1)
    return found


def test_one_class_only_teaches_no_weights() -> None:
    """Everybody chooses A, whatever the replies are: that says nothing about the next pair."""
    head = learnt([changed(each, choice="A", strength=None) for each in drawn(300, D, seed=1)])
    found = answered(predict(head, UNSEEN))
    prior = answered(predict(new_head(HeadSettings(), EMBEDDING, D, ("product",)), UNSEEN))
    assert np.abs(found[0] - found[2]).mean() < 0.25
    assert found.max() < 0.95
    assert prior[0] == pytest.approx(prior[2])


def test_ties_only_predict_ties_and_prefer_nothing() -> None:
    head = learnt([changed(each, choice="tie", strength=None) for each in drawn(300, D, seed=2)])
    found = answered(predict(head, UNSEEN))
    assert np.abs(predict(head, UNSEEN).mean).max() < 0.3
    assert found[1].mean() > 0.5 > max(found[0].mean(), found[2].mean())
    assert head_report(head).questions[0].decisive == 0


def test_contradicting_judgments_of_one_pair_leave_it_open() -> None:
    a, b = np.eye(D)[0].astype("f4"), np.zeros(D, "f4")
    entries = [preference(n, a, b, "AB"[n % 2]) for n in range(1, 201)]  # type: ignore[arg-type]
    found = predict(learnt(entries), (a - b)[None].astype(float))
    assert abs(found.mean[0]) < 0.2
    assert abs(found.a[0] - found.b[0]) < 0.1
    assert found.variance[0] < predict(new_head(HeadSettings(), EMBEDDING, D, ("product",)), (a - b)[None].astype(float)).variance[0]


def test_one_judgment_leaves_a_wide_posterior() -> None:
    head = learnt(drawn(1, D, seed=3))
    prior = predict(new_head(HeadSettings(), EMBEDDING, D, ("product",)), UNSEEN)
    assert predict(head, UNSEEN).variance == pytest.approx(prior.variance, rel=0.4)
    (line,) = head_report(head).questions[0].recruiters
    assert (line.judgments, line.kind) == (1, "too few judgments to tell")


def test_an_objective_that_nobody_rates_prefers_nothing() -> None:
    found = predict(learnt(drawn(100, D, seed=4)), UNSEEN, "safe")
    assert not found.mean.any()
    assert found.a == pytest.approx(found.b)
    assert found.variance == pytest.approx(predict(new_head(HeadSettings(), EMBEDDING, D, ("product",)), UNSEEN).variance)
