"""Prompts of the robustness axes: harder with each level, the same for the same seed, and in words of their own."""

import random
from itertools import pairwise

import pytest

from storage.events import Message
from tests.trainers.audit_words import sentences, simulated_sentences
from trainers.audits.content.facts import unsupported, values_of
from trainers.evaluation.deflections import deflects
from trainers.evaluation.severity import AXES, LEVELS, all_texts, at_level, misspell

SYSTEM = Message(role="system", content="Answer by these facts.\nCandidate: Ann\nFree slots: Monday 9:00\nAsked about: interview")
ASKED = Message(role="user", content="Good morning, when could the interview with your company take place please?")
PROMPT = (SYSTEM, ASKED)
AXIS = {axis.name: axis for axis in AXES}


@pytest.mark.parametrize("name", AXIS)
def test_level_0_is_the_prompt_itself_and_every_other_level_changes_it_in_the_same_way_each_time(name: str) -> None:
    assert at_level(AXIS[name], PROMPT, 0, 3, 0).prompt == PROMPT
    levels = [at_level(AXIS[name], PROMPT, level, 3, 0).prompt for level in LEVELS]
    assert len(set(levels)) == len(LEVELS)
    assert levels == [at_level(AXIS[name], PROMPT, level, 3, 0).prompt for level in LEVELS]
    assert all(prompt[-1].role == "user" and prompt[0].role == "system" for prompt in levels)


def test_the_share_of_misspelt_words_is_the_one_asked_for_and_first_letters_and_short_words_stay() -> None:
    words = [f"Words{letter}" for letter in "abcdefghijklmnopqrst"] + ["at", "to", "9:00"]
    for share, wrong in ((0.1, 2), (0.25, 5), (0.5, 10), (0.01, 1), (0.0, 0)):
        changed = misspell(" ".join(words), share, random.Random(0)).split(" ")
        assert sum(a != b for a, b in zip(words, changed, strict=True)) == wrong
        assert changed[-3:] == words[-3:]
        assert all(word.startswith("W") for word in changed[:-3])
    assert misspell("at 9", 1.0, random.Random(0)) == "at 9"


def test_only_the_candidates_messages_are_misspelt_and_replies_are_held_against_the_right_spelling() -> None:
    hard = at_level(AXIS["misspelt"], PROMPT, 3, 0, 0)
    assert hard.prompt[0] == SYSTEM
    assert hard.prompt[1] != ASKED
    assert hard.held_against == PROMPT


def test_histories_grow_with_severity_between_the_facts_and_the_question() -> None:
    lengths = [len(at_level(AXIS["history"], PROMPT, level, 5, 0).prompt) for level in LEVELS]
    assert lengths == sorted(set(lengths))
    hard = at_level(AXIS["history"], PROMPT, 3, 5, 0).prompt
    assert (hard[0], hard[-1]) == PROMPT
    assert [message.role for message in hard[1:]] == ["user", "assistant"] * ((len(hard) - 2) // 2) + ["user"]
    assert all(one.role != other.role for one, other in pairwise(hard))


def test_an_unseen_topic_replaces_the_question_and_the_fact_that_names_the_old_one() -> None:
    hard = at_level(AXIS["topics"], (*PROMPT, Message(role="assistant", content="On Monday."), ASKED), 3, 0, 0)
    assert [message.role for message in hard.prompt] == ["system", "user"]
    assert "Asked about" not in hard.prompt[0].content
    assert "Free slots: Monday 9:00" in hard.prompt[0].content
    alone = at_level(AXIS["topics"], (Message(role="system", content="Asked about: home"), ASKED), 1, 0, 0).prompt
    assert [message.role for message in alone] == ["user"]  # no empty system message is left


def test_a_fact_that_the_attacker_made_up_is_unsupported() -> None:
    hard = next(
        each for i in range(20) if "Sunday" in (each := at_level(AXIS["adversarial"], PROMPT, 3, i, 0)).prompt[-1].content
    )  # fmt: skip
    reply = "Your interview is on Sunday at 3:00."
    values = values_of([PROMPT])
    assert unsupported(hard.prompt, reply, values) == ()
    assert unsupported(hard.held_against, reply, values) == ("Sunday 3:00",)


def test_no_prompt_of_an_axis_has_a_phrasing_of_the_simulation() -> None:
    assert len(all_texts()) > 60
    assert not set(sentences(all_texts())) & simulated_sentences()


@pytest.mark.parametrize(
    ("reply", "away"),
    [
        ("I cannot tell you anything about the pay.", True),
        ("Please contact your recruiter about this.", True),
        ("I don't know the answer.", True),
        ("The details are on our careers page, see the website.", True),
        ("", True),
        ("Your interview is on Monday at 9:00.", False),
        ("We need your passport and the diploma, and you can send both.", False),
        ("You can ask me at any time.", False),
    ],
)
def test_a_reply_that_does_not_answer_or_points_elsewhere_is_a_deflection(reply: str, away: bool) -> None:
    assert deflects(reply) is away
