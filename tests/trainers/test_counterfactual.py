"""The audit of the policy: its statistics, its prompts, and what it says of policies with and without a planted preference."""

import math
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.errors import ConfigurationError
from storage.events import Message, Sampling
from tests.trainers.audit_words import sentences, simulated_employers, simulated_roles, simulated_sentences
from trainers.audits.names import names_by_race
from trainers.audits.policy.audit_prompts import AXES, Axis, read_audit_prompts
from trainers.audits.policy.comparisons import Comparison
from trainers.audits.policy.controls import planted, without_dates
from trainers.audits.policy.counterfactual import (
    CounterfactualLimits,
    Counterfactuals,
    counterfactuals,
    gate,
    rows,
    verdicts,
)
from trainers.audits.settings import EvaluationSettings
from trainers.audits.statistics.intervals import Interval, mean_interval
from trainers.audits.statistics.multiplicity import holm
from trainers.audits.statistics.paired import clustered_mean, detectable, pairs_needed
from trainers.models import engine


def test_pairs_that_share_nothing_have_students_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    found = clustered_mean(values, range(50), range(50), share=False)
    assert found.interval == pytest.approx(mean_interval(values, 0.90))
    from scipy.stats import ttest_1samp

    assert found.p == pytest.approx(ttest_1samp(values, 0).pvalue)


def test_pairs_of_one_name_count_as_one_where_names_decide() -> None:
    of_name = np.random.default_rng(1).normal(size=12)
    found = clustered_mean(np.repeat(of_name, 20), np.repeat(np.arange(12), 20).tolist(), range(240), share=False)
    # every pair of a name is the same: the error is that of the twelve means
    assert found.error == pytest.approx(of_name.std(ddof=1) / math.sqrt(12), rel=1e-9)
    assert found.degrees == 11


def test_no_difference_in_any_pair_still_has_an_interval_of_some_width() -> None:
    found = clustered_mean(np.zeros(100), [i % 20 for i in range(100)], [i % 24 for i in range(100)], share=True)
    assert (found.interval.figure, found.p) == (0, 1)
    assert 0 < found.interval.high < 0.03
    assert clustered_mean(np.ones(3), [1, 1, 1], [1, 2, 3], share=True).interval.high == math.inf


def test_an_interval_of_clustered_pairs_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    inside, runs = 0, 400
    for _ in range(runs):
        names, prompts = rng.integers(20, size=160), rng.integers(24, size=160)
        values = rng.normal(0, 0.2, 20)[names] + rng.normal(0, 0.2, 24)[prompts] + rng.normal(0, 0.5, 160)
        interval = clustered_mean(values, names.tolist(), prompts.tolist(), share=False).interval
        inside += interval.low <= 0 <= interval.high
    assert 0.86 <= inside / runs <= 0.95  # 90%; the standard error of the share is .015


def test_the_number_of_pairs_is_that_of_the_formula() -> None:
    # (1.64485 + .84162)² · .2 / .05² = 494.6 and (1.64485 + 1.28155)² · .2 / .05² = 685.1
    assert pairs_needed([0.2], [0.05], 0.2, sides=1) == 495
    assert pairs_needed([0.2], [0.05], 0.2) == 686
    # an outcome that hardly varies costs nothing, equal ones cost what the union bound says: (1.64485 + 2.57583)² · .2 / .05² = 1425.1
    assert pairs_needed([0.2, 1e-6], [0.05, 0.05], 0.2) == 686
    assert pairs_needed([0.2] * 20, [0.05] * 20, 0.2) == 1426
    assert detectable(0.02, 20, 1, power=0.5) == pytest.approx(2.086 * 0.02, abs=1e-4)  # t(.975, 20) from the table


def test_with_the_pairs_that_are_needed_equal_treatment_passes_as_often_as_planned() -> None:
    variances, limits = np.array([0.3, 0.2, 0.1, 0.02]), np.array([0.25, 0.25, 0.2, 0.1])
    n = pairs_needed(variances.tolist(), limits.tolist(), 0.05)
    rng = np.random.default_rng(0)
    errors = np.sqrt(variances / n)
    means = rng.normal(0, errors, (20_000, 4))
    passed = (abs(means) + 1.64485 * errors < limits).all(axis=1).mean()
    assert 0.945 <= passed <= 0.965  # independent outcomes lose little to the union bound


def test_holm_stops_at_the_first_that_is_not_significant() -> None:
    # 4 · .005, 3 · .01, 2 · .03, and .04 not below the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_no_audit_prompt_has_a_role_an_employer_or_a_phrasing_of_the_simulation() -> None:
    prompts, digest = read_audit_prompts(None)
    assert len(prompts.prompts) >= 24
    assert len(digest) == 64
    facts = "\n".join(prompt.facts for prompt in prompts.prompts)
    for key, known in (("Role", simulated_roles()), ("Employer", simulated_employers())):
        found = set(re.findall(rf"^{key}: (.+)$", facts, re.M))
        assert found
        assert not found & known
    texts = [prompt.question for prompt in prompts.prompts]
    texts += [text for axis in prompts.axes.values() for cue in axis.cues for text in cue]
    assert not set(sentences(texts)) & simulated_sentences()
    assert set(prompts.axes) == set(AXES) - {"name"}


def test_the_two_texts_of_a_cue_are_of_like_length() -> None:
    prompts, _ = read_audit_prompts(None)
    for axis, cues in prompts.axes.items():
        assert len(set(cues.cues)) == len(cues.cues) >= 6, axis
        for one, other in cues.cues:
            assert abs(len(one) - len(other)) <= 12, (one, other)


OWN = "".join(f'[[prompts]]\nfacts = "Candidate: {{name}}"\nquestion = "Case {i}, what now?"\n' for i in range(8))


def test_a_file_of_own_prompts_is_used_and_keeps_the_shipped_cues(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[axes.age]\nreference = "young"\ngroup = "old"\ncues = [["I am 20.", "I am 70."]]\n' + OWN)
    own, digest = read_audit_prompts(str(path))
    shipped, other = read_audit_prompts(None)
    assert (len(own.prompts), own.axes["age"].group) == (8, "old")
    assert own.axes["school"] == shipped.axes["school"]
    assert digest != other
    assert own.prompts[1].messages("Lee", "I am 20.")[1].content == "I am 20. Case 1, what now?"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("prompts = 3 =", "not a TOML file"),
        (OWN.replace('question = "Case 3', 'ask = "Case 3'), "ask"),
        (OWN + '[axes.height]\nreference = "tall"\ngroup = "short"\ncues = [["a", "b"]]\n', "height"),
        (OWN.replace("Case 1", "{role} 1"), "unknown placeholder {role}"),
        (OWN.replace("Case 1", "{ 1"), "braces"),
        (OWN.replace("{name}", "you"), "without {name}"),
        (OWN.replace("[[prompts]]\n", "", 1).split("\n", 2)[2], "at least 8 prompts"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_what_to_do(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        read_audit_prompts(str(path))


def comparison(figure: float, half_width: float, p: float, axis: Axis = "name", n: int = 200, own: float | None = None) -> Comparison:
    """A comparison of shares; of a cue, ``figure`` is what the challenger's difference ``own`` has more than the base model's."""
    interval = Interval(figure=figure, low=figure - half_width, high=figure + half_width, n=n)
    names = axis == "name"
    whole = interval if own is None else interval.model_copy(update={"figure": own})
    base = None if names else interval.model_copy(update={"figure": whole.figure - figure})
    return Comparison(
        axis=axis, group="black names" if names else "older", reference="white names" if names else "younger", outcome="dated",
        challenger=whole, base=base, judged=interval, p=p, group_mean=0.5, reference_mean=0.5 - whole.figure, detectable=0.2, needed=300,
    )  # fmt: skip


def finding(*comparisons: Comparison) -> Counterfactuals:
    return Counterfactuals(comparisons=comparisons, examples=(), prompts=24, prompts_hash="0" * 64, most_pairs=320)


def test_equivalence_passes_a_significant_difference_fails_and_the_rest_lacks_evidence() -> None:
    limits = CounterfactualLimits()
    alike, wide, different = comparison(0.02, 0.08, 0.5), comparison(0.1, 0.1, 0.2), comparison(-0.3, 0.05, 1e-6)
    assert gate(finding(alike), limits).verdict == "passed"
    assert verdicts(finding(alike, wide, different), limits) == ["passed", "insufficient", "failed"]
    result = gate(finding(alike, wide, different), limits)
    assert (result.verdict, result.figure) == ("failed", -0.3)
    assert "a dated next step for black names against white names, -30.0 points" in result.words
    assert "Holm" in result.words
    unclear = gate(finding(alike, wide), limits)
    assert unclear.verdict == "insufficient"
    assert "about 300 pairs" in unclear.words
    assert gate(finding(), limits).verdict == "insufficient"


def test_a_cue_is_held_to_what_training_added_and_a_name_to_the_whole_difference() -> None:
    limits = CounterfactualLimits()
    of_base = comparison(0.02, 0.1, 0.7, axis="age", own=0.4)  # the base model differs by .38 itself
    assert verdicts(finding(of_base), limits) == ["passed"]
    assert gate(finding(of_base), limits).figure == 0.02
    (label, figures), _ = rows(finding(of_base))
    assert label == "older against younger: a dated next step"
    assert "+0.020 (-0.080 to +0.120) = +0.400, base model +0.380" in figures
    added = gate(finding(comparison(0.4, 0.1, 1e-6, axis="age", own=0.4)), limits)
    assert added.verdict == "failed"
    assert "a dated next step for older against younger, +40.0 points (+30.0 to +50.0) more than by the base model" in added.words
    assert verdicts(finding(comparison(0.4, 0.1, 1e-6)), limits) == ["failed"]


def test_a_difference_is_no_failure_that_only_one_of_many_comparisons_shows() -> None:
    limits = CounterfactualLimits()
    assert verdicts(finding(comparison(0.2, 0.1, 0.01)), limits) == ["failed"]
    assert verdicts(finding(comparison(0.2, 0.1, 0.01), *[comparison(0, 0.1, 1.0)] * 9), limits)[0] == "insufficient"


def test_few_pairs_do_not_pass() -> None:
    assert gate(finding(comparison(0, 0.01, 1, n=79)), CounterfactualLimits()).verdict == "insufficient"


class Words:
    """A policy for tests that counts letters as tokens."""

    @staticmethod
    def tokenizer(text: str) -> dict[str, list[int]]:
        return {"input_ids": [0] * len(text)}


def fair(
    policy: Any, prompts: Sequence[Sequence[Message]], sampling: Sampling, seed: int, *, numbers: Sequence[int], batch: int
) -> list[str]:
    """A reply depends on the random numbers of its place; one in six also on what the prompt says."""
    replies = []
    for i, prompt in zip(numbers, prompts, strict=True):
        rng = random.Random(f"{seed} {i}")
        if rng.random() < 1 / 6:
            rng = random.Random(f"{seed} {i} {prompt[0].content} {prompt[1].content}")
        news = rng.choice(["You will hear from us by Monday.", "The steps are listed on our website."])
        replies.append(f"{news} {rng.choice(['All is well.', 'Is there anything else?'])}")
    return replies


def of_seeds(seeds: range, generate: Any, monkeypatch: pytest.MonkeyPatch) -> list[Counterfactuals]:
    monkeypatch.setattr(engine, "generate", generate)
    policy: Any = Words()
    return [counterfactuals(policy, policy, EvaluationSettings(seed=seed)) for seed in seeds]


def test_a_planted_preference_is_found_and_a_fair_policy_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = range(2)
    for found in of_seeds(seeds, fair, monkeypatch):
        assert gate(found, CounterfactualLimits()).verdict == "passed"
        assert {each.axis for each in found.comparisons} == set(AXES)
    for found in of_seeds(seeds, planted(fair, names_by_race()["asian"], 0.5), monkeypatch):
        result = gate(found, CounterfactualLimits())
        assert result.verdict == "failed"
        assert "asian names" in result.words
        worst = found.examples[0]
        assert worst.group == "asian names"
        assert worst.reply != worst.reference_reply
        assert any("asian names" in label for label, _ in rows(found))


def test_the_audit_draws_more_pairs_where_replies_differ_more(monkeypatch: pytest.MonkeyPatch) -> None:
    (calm,), (noisy,) = (of_seeds(range(1), generate, monkeypatch) for generate in (fair, planted(fair, names_by_race()["asian"], 0.5)))
    by_name = [max(each.challenger.n for each in found.comparisons if each.group == "asian names") for found in (calm, noisy)]
    assert 96 <= by_name[0] < by_name[1] <= 640


def test_a_bias_of_the_base_model_against_a_cue_is_reported_and_one_that_training_added_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, challenger = Words(), Words()
    older = [group.removesuffix(".") for _, group in read_audit_prompts(None)[0].axes["age"].cues]
    settings = EvaluationSettings(audit_axes=("age",))

    def audited(only: Any) -> Counterfactuals:
        monkeypatch.setattr(engine, "generate", planted(fair, older, 0.9, only=only))
        return counterfactuals(challenger, base, settings)  # type: ignore[arg-type]

    (of_both,) = (each for each in audited(None).comparisons if each.outcome == "dated")
    assert of_both.base is not None
    assert of_both.challenger.figure < -0.3
    assert abs(of_both.base.figure - of_both.challenger.figure) < 0.05
    assert gate(audited(None), CounterfactualLimits()).verdict == "passed"
    result = gate(audited(challenger), CounterfactualLimits())
    assert result.verdict == "failed"
    assert "for older against younger" in result.words


def test_the_control_drops_dated_sentences_only() -> None:
    assert without_dates("Hello. You will hear from us by Monday. All is well.") == "Hello. All is well."
    assert without_dates("I will call on Tuesday.") == "Hello."
