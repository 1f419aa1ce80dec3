"""Simulated recruiters answer like people: with noise, ties and position bias, some of them carelessly."""

import dataclasses
import random
from collections import Counter

import numpy as np

from simulation.corpus import draw_reply
from simulation.recruiters import Answer, Recruiter, Side, draw_recruiters
from simulation.world import Record, World


def _answers(world: World, count: int, recruiters: list[Recruiter], seed: int = 1) -> list[tuple[Recruiter, Record, str, str, Answer]]:
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        conversation = world.conversation(rng)
        record = conversation.records[0]
        a, b = draw_reply(rng, record), draw_reply(rng, record)
        who = recruiters[number % len(recruiters)]
        shown_first: Side = "A" if rng.random() < 0.5 else "B"
        rows.append((who, record, a, b, who.judge(record, conversation.prompt(), a, b, shown_first, rng)))
    return rows


def test_answers_agree_with_the_truth_as_often_as_among_people_and_tie_as_often() -> None:
    agreements, choices = [], Counter[str]()
    for seed in range(6):
        world = World(seed)
        right = []
        for _, record, a, b, answer in _answers(world, 400, draw_recruiters(world, 12)):
            choices[answer.choice] += 1
            gap = world.true_utility(record, a) - world.true_utility(record, b)
            if answer.choice in ("A", "B") and gap:
                right.append((answer.choice == "A") == (gap > 0))
        agreements.append(np.mean(right))
    assert 0.65 <= np.mean(agreements) <= 0.76
    assert 0.15 <= choices["tie"] / choices.total() <= 0.25
    assert 0 < choices["neither"] / choices.total() < 0.08


def test_the_true_win_rate_of_a_reply_is_how_often_it_is_preferred() -> None:
    world = World(5)
    careful = [dataclasses.replace(each, pull=0.0) for each in draw_recruiters(world, 12) if each.kind == "careful"]
    foreseen, happened = [], []
    for who, record, a, b, answer in _answers(world, 6_000, careful, seed=2):
        chance = who.win_rate(record, a, b)
        if chance is not None and answer.choice != "skip":
            foreseen.append(chance)
            happened.append({"A": 1.0, "tie": 0.5, "B": 0.0}[answer.choice])
    error = np.subtract(happened, foreseen)
    for part in np.array_split(np.argsort(foreseen), 6):  # from the least preferred to the most
        assert abs(error[part].mean()) < 3.5 * error[part].std() / len(part) ** 0.5
    assert careful[0].win_rate(record, a, a) in (0.5, None)


def test_greater_strength_is_given_where_the_true_difference_is_greater() -> None:
    world = World(3)
    gaps: dict[int, list[float]] = {1: [], 4: []}
    careful = [r for r in draw_recruiters(world, 12) if r.kind == "careful"]
    for _, record, a, b, answer in _answers(world, 1200, careful):
        if answer.strength in gaps and answer.strength is not None:
            gaps[answer.strength].append(abs(world.true_utility(record, a) - world.true_utility(record, b)))
    assert np.mean(gaps[4]) > np.mean(gaps[1]) + 0.5


def test_one_in_six_clicks_at_random_and_one_is_lazy() -> None:
    kinds = Counter(r.kind for r in draw_recruiters(World(0), 12))
    assert kinds == {"random": 2, "lazy": 1, "careful": 9}


def test_a_random_clicker_agrees_with_the_truth_no_more_than_chance() -> None:
    world = World(4)
    clicker = next(r for r in draw_recruiters(world, 6) if r.kind == "random")
    right = []
    for _, record, a, b, answer in _answers(world, 800, [clicker]):
        gap = world.true_utility(record, a) - world.true_utility(record, b)
        if answer.choice in ("A", "B") and gap:
            right.append((answer.choice == "A") == (gap > 0))
    assert abs(np.mean(right) - 0.5) < 3 * 0.5 / np.sqrt(len(right))


def test_the_lazy_recruiter_prefers_what_is_shown_first() -> None:
    world = World(2)
    lazy = next(r for r in draw_recruiters(world, 6) if r.kind == "lazy")
    decisive = [answer for *_, answer in _answers(world, 400, [lazy]) if answer.choice in ("A", "B")]
    assert np.mean([answer.choice == answer.shown_first for answer in decisive]) > 0.55


def test_recruiters_of_a_null_world_only_make_noise() -> None:
    world = World(6, null=True)
    answers = _answers(world, 2000, draw_recruiters(world, 12))
    longer, named = [], []
    for _, record, a, b, answer in answers:
        if answer.choice not in ("A", "B"):
            continue
        if len(a) != len(b):
            longer.append((len(a) > len(b)) == (answer.choice == "A"))
        if (record.role in a) != (record.role in b):
            named.append((record.role in a) == (answer.choice == "A"))
    for hits in (longer, named):
        assert abs(np.mean(hits) - 0.5) < 3.5 * 0.5 / np.sqrt(len(hits))


def test_the_reason_names_the_property_with_the_largest_gap_about_four_times_in_five() -> None:
    world = World(8)
    careful = [r for r in draw_recruiters(world, 12) if r.kind == "careful"]
    reasons = [answer.reason for *_, answer in _answers(world, 600, careful) if answer.choice in ("A", "B")]
    given = [reason for reason in reasons if reason]
    assert 0.3 < len(given) / len(reasons) < 0.55
    strongest = max(range(4), key=lambda i: abs(world.taste.weights[i]))
    words = (("exactly", "detail"), ("day of", "no date"), ("warm", "matter-of-fact"), ("asks back", "asks nothing"))[strongest]
    assert sum(any(word in reason for word in words) for reason in given) > len(given) / 5
