"""BLEU, chrF and ROUGE-L of replies against chosen replies, and which replies count as references."""

import numpy as np
import pytest
from sacrebleu import corpus_bleu, corpus_chrf

from storage.events import Message
from trainers.data.demonstration import Demonstration
from trainers.data.preference import Preference
from trainers.evaluation.overlap import overlap, references_of
from trainers.evaluation.rouge import longest_common_subsequence, rouge_l

REPLIES = ["Hello Anna, by Friday you will hear from us.", "The interview is on Monday at ten.", "We need your passport and your diploma."]
CHOSEN = ["Hello Anna, you will hear from us by Friday.", "Your interview is on Monday at ten.", "Please send the passport and a diploma."]
ALSO = ["By Friday you will hear from us, Anna."]


def said(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def judged(prompt: str, chosen: str, rejected: str, stratum: str = "evaluation", choice: str = "A") -> Preference:
    return Preference(said(prompt), chosen, rejected, choice, stratum, prompt)  # type: ignore[arg-type]


def test_rouge_l_agrees_with_the_worked_example_of_its_paper() -> None:
    # Lin (2004), section 3.1: "police kill the gunman" shares three words in order with the reference, "the gunman kill police" two
    reference = ["police killed the gunman"]
    assert rouge_l("police kill the gunman", reference) == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", reference) == pytest.approx(0.5)
    assert rouge_l("The gunman police killed!", ["", *reference]) == pytest.approx(0.5)  # the best reference; case and marks do not count
    assert rouge_l("", reference) == rouge_l("police", []) == 0.0
    # precision 2/2 and recall 2/4: F = 2·1·½ / 1½
    assert rouge_l("the gunman", reference) == pytest.approx(2 / 3)


def test_the_common_subsequence_is_as_long_as_dynamic_programming_on_the_whole_table_says() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = (list(map(str, rng.integers(4, size=rng.integers(12)))) for _ in range(2))
        table = np.zeros((len(one) + 1, len(other) + 1), int)
        for i, a in enumerate(one, 1):
            for j, b in enumerate(other, 1):
                table[i, j] = table[i - 1, j - 1] + 1 if a == b else max(table[i - 1, j], table[i, j - 1])
        assert longest_common_subsequence(one, other) == table[-1, -1] == longest_common_subsequence(other, one)


def test_bleu_and_chrf_are_those_of_sacrebleu_with_all_references() -> None:
    found = overlap(REPLIES, [[CHOSEN[0], *ALSO], [CHOSEN[1]], [CHOSEN[2]]], 200, 0)
    streams = [CHOSEN, [ALSO[0], None, None]]
    assert found.bleu.figure == pytest.approx(corpus_bleu(REPLIES, streams).score)  # type: ignore[arg-type]
    assert found.chrf.figure == pytest.approx(corpus_chrf(REPLIES, streams).score)  # type: ignore[arg-type]
    assert found.bleu.figure > overlap(REPLIES, [[text] for text in CHOSEN], 200, 0).bleu.figure
    for each in (found.bleu, found.chrf, found.rouge_l):
        assert each.n == 3
        assert each.low < each.high


def test_a_single_reply_has_figures_and_no_interval() -> None:
    found = overlap(CHOSEN[:1], [CHOSEN[:1]], 200, 0)
    assert (found.bleu.figure, found.chrf.figure, found.rouge_l.figure) == pytest.approx((100, 100, 1))
    assert [each.bounded for each in (found.bleu, found.chrf, found.rouge_l)] == [False] * 3


def test_the_interval_is_that_of_scores_of_resampled_replies_and_replies_without_any_overlap_have_one_too() -> None:
    replies, references = [*REPLIES, "xyz"] * 5, [*([text] for text in CHOSEN), ["nothing alike"]] * 5
    found = overlap(replies, references, 300, 0)
    rng, scores = np.random.default_rng(1), []
    for _ in range(100):
        at = rng.integers(20, size=20)
        scores.append(corpus_chrf([replies[i] for i in at], [[references[i][0] for i in at]]).score)
    assert (found.chrf.low, found.chrf.high) == pytest.approx(np.quantile(scores, (0.025, 0.975)), abs=4)
    nothing = overlap(["xyz"] * 3, [["a b c"]] * 3, 200, 0)
    assert (nothing.bleu.high, nothing.chrf.high, nothing.rouge_l.high) == (0, 0, 0)


def test_references_are_the_chosen_replies_and_rewrites_of_the_evaluation_stratum() -> None:
    preferences = [
        judged("p", "good", "bad"),
        judged("p", "bad", "good", choice="B"),  # the same reply again
        judged("p", "other", "bad"),
        judged("tied", "one", "two", choice="tie"),
        judged("trained", "seen", "bad", stratum="training"),
    ]
    rewrites = [Demonstration(said("q"), "written", "evaluation", "q"), Demonstration(said("r"), "seen", "training", "r")]
    assert references_of(preferences, rewrites) == {said("p"): ("good", "other"), said("q"): ("written",)}
