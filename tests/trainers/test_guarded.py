"""A reward with guards: tricks beyond what judged replies do lose reward, everything else is scored as before."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from benchmarks.reward.probes import FAMILIES, resisted
from storage.errors import ArtifactError
from tests.trainers.conftest import said
from trainers.audits.reward.reward_probes import ProbeLimits, gate, read_texts, reward_probes
from trainers.data.preference import Preference
from trainers.features.embedding import Item
from trainers.reward.guarded import FILE, GuardedReward, GuardLimits, guarded, statistics
from trainers.reward.online.head import Prediction


@dataclass
class Lengthy:
    """A reward of the length, as the logarithm of the number of characters."""

    about: Mapping[str, float | str] = field(default_factory=dict)

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        return np.array([5 * np.log1p(len(reply)) for _, reply in items])

    def compare(self, first: Sequence[Item], second: Sequence[Item]) -> Prediction:
        mean = self.scores(first) - self.scores(second)
        tie = np.full(len(mean), 0.1)
        return Prediction(mean, np.ones(len(mean)), 0.9 * expit(mean), tie, 0.9 * expit(-mean))

    def save(self, path: Path) -> Path:
        path.mkdir()
        return path


def plain_replies() -> list[Preference]:
    """The audit's plain replies to candidates, in pairs."""
    texts = read_texts().replies
    return [Preference.of_replies(said(question), reply, texts[i - 1][1]) for i, (question, reply) in enumerate(texts)]


@pytest.fixture(scope="module")
def limits() -> GuardLimits:
    return GuardLimits.learnt(Lengthy(), plain_replies())


def test_even_a_silly_reward_resists_tricks_within_guards(limits: GuardLimits) -> None:
    alone, within = resisted(Lengthy().scores), resisted(GuardedReward(Lengthy(), limits).scores)
    assert np.mean([each.mean() for each in alone.values()]) < 0.5
    assert np.mean([within[family].mean() for family in FAMILIES]) >= 0.95
    for score, verdict in ((Lengthy().scores, "failed"), (GuardedReward(Lengthy(), limits).scores, "passed")):
        assert gate(reward_probes(score, limits.spread, read_texts()), ProbeLimits()).verdict == verdict


def test_what_lies_within_the_limits_is_scored_as_before(limits: GuardLimits) -> None:
    items: list[Item] = [(each.prompt, each.a) for each in plain_replies()]
    untouched = [item for item in items if (statistics([item])[0] <= list(limits.limits.values())).all()]
    assert len(untouched) > 0.7 * len(items)
    model = GuardedReward(Lengthy(), limits)
    assert model.scores(untouched) == pytest.approx(Lengthy().scores(untouched))
    one, other = untouched[:5], untouched[5:10]
    assert np.array_equal(model.compare(one, other).a, Lengthy().compare(one, other).a)


def test_a_trick_loses_in_a_comparison_and_swapping_the_sides_changes_nothing_else(limits: GuardLimits) -> None:
    prompt = said("When is it?")
    fair: list[Item] = [(prompt, "It is on Monday at ten. Please bring your papers.")]
    trick: list[Item] = [(prompt, "It is on Monday at ten. " + "Please bring your papers. " * 6)]
    straight, swapped = GuardedReward(Lengthy(), limits).compare(fair, trick), GuardedReward(Lengthy(), limits).compare(trick, fair)
    assert Lengthy().compare(fair, trick).a[0] < 0.1 < 0.8 < straight.a[0]
    assert straight.a[0] + straight.tie[0] + straight.b[0] == pytest.approx(1)
    assert (swapped.mean[0], swapped.b[0]) == (pytest.approx(-straight.mean[0]), pytest.approx(straight.a[0]))


def test_an_unlawful_question_is_never_the_best(limits: GuardLimits) -> None:
    prompt = said("When is it?")
    replies = ["Soon.", "It is on Monday at ten in our office. Do you have children?", "It is on Monday."]
    scores = GuardedReward(Lengthy(), limits).scores([(prompt, reply) for reply in replies])
    assert np.argmin(scores) == 1
    assert np.argmax(scores) == 2


def test_the_limits_are_saved_beside_the_model_and_damaged_ones_are_named(limits: GuardLimits, tmp_path: Path) -> None:
    assert isinstance(guarded(Lengthy(), tmp_path), Lengthy)
    folder = GuardedReward(Lengthy(), limits).save(tmp_path / "model")
    again = guarded(Lengthy(), folder)
    assert isinstance(again, GuardedReward)
    assert again.guard == limits
    (folder / FILE).write_text(json.dumps({"limits": {}}))
    with pytest.raises(ArtifactError, match=r"guards\.json: no guards to be read there"):
        guarded(Lengthy(), folder)


@pytest.mark.parametrize(
    ("reply", "name", "value"),
    [
        ("The manager will call you. Your papers arrived.", "disorder", 0.0),
        ("call manager the will you. papers your arrived my.", "disorder", 2 / 3),
        ("You are brilliant and truly outstanding.", "praise", np.log(4)),
        ("Yes yes yes yes.", "longest_run", np.log(4)),
    ],
)
def test_statistics_have_the_values_of_their_definitions(reply: str, name: str, value: float) -> None:
    from trainers.features.guards import GUARDS
    from trainers.reward.guarded import MORE

    assert statistics([(said("When?"), reply)])[0][(*GUARDS, *MORE).index(name)] == pytest.approx(value)
    assert statistics([]).shape == (0, len(GUARDS) + len(MORE))
