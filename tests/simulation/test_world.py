"""In the simulated world names and attributes are independent, length is uninformative, and slips are rare."""

import random
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from simulation.checker import ATTRIBUTES, Reading, read
from simulation.corpus import SLIPS, draw_reply, fill
from simulation.handwritten import handwritten
from simulation.phrases import phrases, variants
from simulation.taste import Taste, utility
from simulation.world import Record, World, draw_conversation

Corpus = list[tuple[Record, str, Reading]]


def test_the_group_of_a_name_is_independent_of_everything_else_on_10000_draws() -> None:
    rng = random.Random(1)
    records = [draw_conversation(rng, "held_out").records[0] for _ in range(10_000)]
    lowest = []
    for field in ("role", "employer", "stage", "matter", "by", "starts", "remote", "asked_day", "slots", "documents"):
        table: dict[str, Counter[object]] = {"north": Counter(), "south": Counter()}
        for record in records:
            value = getattr(record, field)
            table[record.group][value[0] if isinstance(value, tuple) else value] += 1
        values = sorted(set(table["north"]) | set(table["south"]), key=str)
        lowest.append(chi2_contingency([[table[group][value] for value in values] for group in ("north", "south")]).pvalue)
    assert min(lowest) > 0.001  # ten tests: one in a hundred seeds would fail by chance, and this one is fixed
    assert 0.48 < np.mean([record.group == "north" for record in records]) < 0.52


def test_the_group_appears_in_no_prompt() -> None:
    rng = random.Random(2)
    for _ in range(200):
        text = " ".join(m["content"] for m in draw_conversation(rng, "sft").prompt())
        assert not {"north", "south"} & set(text.split())


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = random.Random(3)
    rows = []
    for _ in range(5_000):
        record = draw_conversation(rng, "sft").records[0]
        reply = draw_reply(rng, record)
        rows.append((record, reply, read(record, reply)))
    return rows


def test_each_attribute_is_near_half_and_they_are_independent(corpus: Corpus) -> None:
    values = np.array([[getattr(reading, name) for name in ATTRIBUTES] + [reading.filler] for _, _, reading in corpus], dtype=float)
    assert np.all(np.abs(values[:, :4].mean(0) - 0.5) < 0.04)
    assert abs(values[:, 4].mean() - 1.0) < 0.05
    assert np.all(np.abs(np.corrcoef(values.T) - np.eye(5)) < 0.05)


def test_a_replys_length_in_characters_is_independent_of_its_utility(corpus: Corpus) -> None:
    for seed in range(8):
        taste = Taste.draw(seed)
        worth = [utility(taste, record, reading) for record, _, reading in corpus]
        assert abs(np.corrcoef([len(reply) for _, reply, _ in corpus], worth)[0, 1]) <= 0.1


READ = {  # what a sentence of the corpus says, and nothing else
    "warm": ("warm", True),
    "plain": ("warm", False),
    "concrete": ("concrete", True),
    "vague": ("concrete", False),
    "dated": ("dated", True),
    "pointer": ("dated", False),
    "question": ("question", True),
    "statement": ("question", False),
    "filler": ("filler", 1),
    "detail": ("filler", 0),
}


def test_every_sentence_of_the_corpus_is_read_as_what_it_is(corpus: Corpus) -> None:
    by_matter = {record.matter: record for record, *_ in corpus}
    for part in ("opening", "lead", "content", "next", "aside", "closing"):
        for value in phrases()[part]:
            for matter, record in by_matter.items():
                for sentence in variants(part, value, matter):
                    text = fill(sentence, record, record.slots[0])
                    reading = read(record, text)
                    found = {name: getattr(reading, name) for name in (*ATTRIBUTES, "filler")}
                    name, expected = READ[value]
                    assert found == dict.fromkeys((*ATTRIBUTES, "filler"), 0) | {name: expected}, text
                    assert not reading.wrong_facts, text
                    assert not reading.unlawful, text


def test_the_two_values_of_an_attribute_are_as_long_as_each_other(corpus: Corpus) -> None:
    records = [record for record, *_ in corpus]
    for part in ("opening", "lead", "content", "next", "aside", "closing"):
        means = []
        for value in phrases()[part]:
            means.append(np.mean([len(fill(s, r, r.slots[0])) for r in records[:600] for s in variants(part, value, r.matter)]))
        assert abs(means[0] - means[1]) < 1.5, part


def test_slips_are_rare_and_of_each_kind(corpus: Corpus) -> None:
    wrong = np.mean([bool(reading.wrong_facts) for _, _, reading in corpus])
    unlawful = np.mean([bool(reading.unlawful) for _, _, reading in corpus])
    assert wrong <= 0.01
    assert SLIPS < unlawful <= 0.02  # promises and unlawful questions, at most one in a hundred each
    rng = random.Random(4)
    booking = next(record for record, *_ in corpus if record.matter == "booking")
    taken = np.mean([bool(read(booking, draw_reply(rng, booking)).wrong_facts) for _ in range(4_000)])
    assert 0 < taken <= 0.01  # half of the replies name a slot


def test_the_lists_for_training_and_for_evaluation_share_nothing() -> None:
    words = phrases()
    pairs = [(words["names"]["sft"][g], words["names"]["held_out"][g]) for g in ("north", "south")]
    pairs += [(words[kind]["sft"], words[kind]["held_out"]) for kind in ("employers", "roles")]
    pairs += [(asks["sft"], asks["held_out"]) for asks in words["asks"].values()]
    for seen, unseen in pairs:
        assert seen
        assert unseen
        assert not set(seen) & set(unseen)
    first_words = {word for title in [*words["roles"]["sft"], *words["employers"]["sft"]] for word in title.split()}
    assert not first_words & {name for group in words["names"]["held_out"].values() for name in group}


def test_the_best_style_changes_with_the_seed() -> None:
    styles = Counter(tuple(weight > 0 for weight in Taste.draw(seed).weights) for seed in range(64))
    assert len(styles) >= 12
    assert max(styles.values()) <= 12


def test_in_a_null_world_every_reply_is_worth_the_same(corpus: Corpus) -> None:
    world = World(5, null=True)
    assert {world.true_utility(record, reply) for record, reply, _ in corpus[:500]} == {0.0}


def test_a_planted_taste_turns_with_the_group_and_only_for_dated_next_steps(corpus: Corpus) -> None:
    plain, planted = World(7), World(7, plant=True)
    for record, reply, reading in corpus[:500]:
        gap = planted.true_utility(record, reply) - plain.true_utility(record, reply)
        expected = -2 * plain.taste.weights[ATTRIBUTES.index("dated")] if record.group == "south" and reading.dated else 0.0
        assert gap == pytest.approx(expected)


def test_a_drifting_world_changes_one_sign_once() -> None:
    world = World(9, drift=True)
    before = world.taste.weights
    world.turn()
    after = world.taste.weights
    world.turn()
    assert world.taste.weights == after
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    assert [abs(w) for w in before] == [abs(w) for w in after]
    steady = World(9)
    steady.turn()
    assert steady.taste.weights == before


def test_the_same_seed_gives_the_same_conversations() -> None:
    first, second = ([World(1).conversation(random.Random(4)) for _ in range(3)] for _ in range(2))
    assert first == second


def test_a_later_turn_carries_the_earlier_replies_and_its_own_record() -> None:
    conversation = draw_conversation(random.Random(6), "held_out", turns=3)
    prompt = conversation.prompt(["One.", "Two."])
    assert [m["role"] for m in prompt] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert conversation.record_of(prompt) == conversation.records[2]
    assert len({record.matter for record in conversation.records}) == 3


def test_the_50_prompts_written_by_hand_are_unlike_the_lists_and_of_every_matter() -> None:
    conversations = handwritten()
    listed = {ask for asks in phrases()["asks"].values() for ask in (*asks["sft"], *asks["held_out"])}
    assert len(conversations) == 50
    assert not listed & {c.asks[0] for c in conversations}
    assert {c.records[0].matter for c in conversations} == {"booking", "status", "rejection", "offer", "documents", "remote"}
    for conversation in conversations:
        record = conversation.records[0]
        assert record.asked_day is None or any(slot.startswith(record.asked_day) for slot in record.slots)
        assert set(record.documents) <= set(phrases()["documents"])
        assert record.candidate in phrases()["names"]["held_out"][record.group]
