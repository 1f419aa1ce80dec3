"""Questions that no facts answer: enough of them, held-out ones unlike those of training, and replies that state nothing."""

import random
import re
from difflib import SequenceMatcher

import pytest

from simulation.checker import read
from simulation.corpus import draw_deflection
from simulation.off_topic import deflections, misspelt, off_topic, questions
from simulation.phrases import phrases
from simulation.world import draw_conversation
from trainers.audits.content.conduct_rules import improper


def test_there_are_enough_questions_for_training_and_for_evaluation() -> None:
    assert len(set(questions("sft"))) >= 400
    assert len(set(questions("held_out"))) >= 100
    for split in ("sft", "held_out"):
        assert {"knowledge", "small_talk", "jokes", "coding", "insults", "languages", "gibberish", "misspelt"} <= set(off_topic()[split])


def test_no_held_out_question_is_nearly_one_of_training() -> None:
    trained = [*questions("sft"), *off_topic()["sft"]["work"]]
    near = []
    for question in questions("held_out"):
        words = _words(question)
        for other in trained:
            shared = len(words & _words(other)) / max(1, len(words | _words(other)))
            if shared > 0.6 or SequenceMatcher(None, question.lower(), other.lower()).ratio() > 0.8:
                near.append((question, other))
    assert near == []


def test_no_off_topic_question_is_one_that_candidates_ask() -> None:
    asked = {ask for asks in phrases()["asks"].values() for ask in (*asks["sft"], *asks["held_out"])}
    assert not asked & {*questions("sft"), *questions("held_out")}


@pytest.mark.parametrize("matter_seed", range(3))
def test_a_deflection_states_no_fact_and_is_proper(matter_seed: int) -> None:
    record = draw_conversation(random.Random(matter_seed), "held_out").records[0]
    replies = [*deflections("off_topic"), *deflections("general")]
    assert 24 <= len(set(replies)) == len(replies) <= 60
    for reply in replies:
        reading = read(record, reply)
        assert not reading.wrong_facts
        assert not reading.concrete
        assert not reading.unlawful
        assert not improper(reply)
        assert re.fullmatch(r"([A-Z][^.?!]*[.?] ?)+", reply)


def test_every_turn_of_a_drawn_deflection_without_facts_turns_a_question_down() -> None:
    rng = random.Random(1)
    seen = set()
    for _ in range(400):
        messages = draw_deflection(rng, draw_conversation(rng, "sft"))
        assert messages[-1]["content"] in deflections("off_topic") + deflections("general")
        assert [m["role"] for m in messages if m["role"] != "system"] == ["user", "assistant"] * (len(messages) // 2)
        informed = "Candidate:" in messages[0]["content"]
        seen.add((informed, len(messages)))
        if informed:
            assert messages[-1]["content"] in deflections("off_topic")
    assert {(False, 2), (False, 4), (True, 3), (True, 5)} <= seen


def test_misspelling_changes_words_and_keeps_names_days_and_hours() -> None:
    rng = random.Random(2)
    ask = "Could I have my interview for Tour Guide on Tuesday at 10:00, please?"
    changed = [misspelt(rng, ask) for _ in range(50)]
    assert len(set(changed)) > 30
    for text in changed:
        assert {"Tour", "Guide", "Tuesday", "10:00,"} <= set(text.split())
        assert len(text.split()) == len(ask.split())


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
