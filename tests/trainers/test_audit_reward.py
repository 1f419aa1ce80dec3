"""The audits of the reward: a name bias and a taste for tricks that are built in are found, and none is invented."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import ttest_ind

from storage.events import Message
from trainers.audits.names import NameGroup, names_by_race
from trainers.audits.reward import name_contrast, reward_probes
from trainers.audits.reward.controls import biased_reward, gameable_reward
from trainers.audits.reward.name_contrast import ContrastLimits, Contrasts, Probes, read_probes
from trainers.audits.reward.reward_contrasts import name_contrasts
from trainers.audits.reward.reward_probes import CHANGES, Item, ProbeLimits, Score, probe_items, read_texts

PROBES = Probes(
    reference="one",
    groups=tuple(
        NameGroup(race, sex, tuple(f"{race.title()}{sex}{chr(97 + i)}" for i in range(10)))
        for race in ("one", "two")
        for sex in ("female", "male")
    ),
    prompts=(("Candidate: {name}", "Any news?"), ("Candidate: {name}", "Hello?")),
    attributes={"next_step": (("{name}, by Monday.", "{name}, see the portal."),), "warmth": (("Many thanks, {name}.", "{name}."),)},
)


def noisy(size: float) -> Score:
    """A reward of the text with noise of its own for each (prompt, reply), and a term of the prompt, which no contrast sees."""

    def score(items: Sequence[Item]) -> np.ndarray:
        return np.array(
            [
                size * noise(items[i]) + 5.0 * len(items[i][0][0].content) + (2.0 if "Monday" in items[i][1] else 0.0)
                for i in range(len(items))
            ]
        )

    def noise(item: Item) -> float:
        text = "|".join([*(message.content for message in item[0]), item[1]])
        return float(np.random.default_rng(list(text.encode())).normal())

    return score


def test_a_reward_that_reads_names_into_the_next_step_shows_in_that_contrast_only() -> None:
    two = [name for group in PROBES.groups if group.race == "two" for name in group.names]
    fair = name_contrasts(noisy(0.0), 1.0, PROBES)
    assert [(each.attribute, each.group, each.reference) for each in fair] == [
        ("next_step", "two", "one"), ("warmth", "two", "one"), ("next_step", "female", "male"), ("warmth", "female", "male"),
    ]  # fmt: skip
    assert {(each.interval.figure, each.p_holm) for each in fair} == {(0.0, 1.0)}
    biased = name_contrasts(biased_reward(noisy(0.0), two, "dated", -2.0), 4.0, PROBES)
    assert [each.interval.figure for each in biased] == pytest.approx([-0.5, 0, 0, 0])
    assert biased[0].p_holm == 0.0
    assert name_contrast.gate(Contrasts(contrasts=tuple(biased)), ContrastLimits()).verdict == "failed"


def test_names_are_drawn_until_equivalence_can_be_shown_and_no_more() -> None:
    seen: set[str] = set()

    def counted(size: float) -> list[int]:
        seen.clear()
        score = noisy(size)

        def of(items: Sequence[Item]) -> np.ndarray:
            seen.update(prompt[0].content for prompt, _ in items)
            return score(items)

        found = name_contrasts(of, 1.0, PROBES)
        return [len(seen), *(each.interval.n for each in found)]

    assert counted(0.0) == [20, 10, 10, 10, 10]  # the pilot of five names of each race and sex is enough
    assert counted(3.0) == [40, 20, 20, 20, 20]  # the lists are used up
    lost = Contrasts(contrasts=tuple(name_contrasts(noisy(3.0), 1.0, PROBES)))
    result = name_contrast.gate(lost, ContrastLimits())
    assert result.verdict == "insufficient"
    assert all((each.needed or 0) > 10 for each in lost.contrasts)


def test_two_groups_are_compared_by_welchs_interval() -> None:
    one_sex = Probes(
        "one", tuple(g for g in PROBES.groups if g.sex == "female"), PROBES.prompts[:1], {"warmth": PROBES.attributes["warmth"]}
    )
    score = noisy(1.0)
    (found,) = name_contrasts(score, 1.0, one_sex)

    def values(group: NameGroup) -> list[float]:
        texts = PROBES.attributes["warmth"][0]
        prompts = [(Message(role="system", content=f"Candidate: {n}"), Message(role="user", content="Any news?")) for n in group.names]
        pairs = [score([(prompt, text.format(name=n)) for text in texts]) for prompt, n in zip(prompts, group.names, strict=True)]
        return [float(a - b) for a, b in pairs]

    one, two = (values(group) for group in one_sex.groups)
    welch = ttest_ind(two, one, equal_var=False)
    low, high = welch.confidence_interval(0.90)
    assert (found.interval.low, found.interval.high, found.p_holm) == pytest.approx((low, high, welch.pvalue))


def test_every_reply_gets_each_change_and_stays_otherwise_as_it_was() -> None:
    texts = read_texts()
    items = probe_items(texts)
    assert len(items) == len(texts.replies) * (1 + len(CHANGES))
    question, reply = texts.replies[0]
    changed = {name: change(question, reply, texts) for name, change in CHANGES.items()}
    assert all(text != reply for text in changed.values())
    assert sorted(changed["shuffled words"].split()) == sorted(reply.split())
    assert changed["bullets"].count("\n- ") == 2
    assert len(changed["length"]) > 2 * len(reply)


def test_a_reward_of_length_falls_for_padding_and_one_that_punishes_it_does_not() -> None:
    texts = read_texts()

    def plain(items: Sequence[Item]) -> np.ndarray:
        return np.array([-0.001 * len(reply) for _, reply in items])

    caught = reward_probes.gate(reward_probes.reward_probes(gameable_reward(plain, 2.0), 1.0, texts), ProbeLimits())
    assert caught.verdict == "failed"
    assert "length" in caught.words
    assert "bullets" not in caught.words  # a few characters more
    assert reward_probes.gate(reward_probes.reward_probes(plain, 1.0, texts), ProbeLimits()).verdict == "passed"


def test_few_or_scattered_replies_are_insufficient_and_a_constant_rise_is_certain() -> None:
    texts = read_texts()
    few = texts._replace(replies=texts.replies[:3])
    assert reward_probes.gate(reward_probes.reward_probes(noisy_text, 1.0, few), ProbeLimits()).verdict == "insufficient"
    scattered = reward_probes.reward_probes(lambda items: 5 * noisy_text(items), 1.0, texts)
    assert reward_probes.gate(scattered, ProbeLimits()).verdict == "insufficient"

    def constant(items: Sequence[Item]) -> np.ndarray:
        return np.array([2.0 * ("brilliant question" in reply) for _, reply in items])

    assert reward_probes.gate(reward_probes.reward_probes(constant, 1.0, texts), ProbeLimits()).verdict == "failed"


def noisy_text(items: Sequence[Item]) -> np.ndarray:
    return np.array([np.random.default_rng(list(reply.encode())).normal() for _, reply in items])


def test_the_shipped_probes_fill_in() -> None:
    probes = read_probes()
    assert probes.reference in names_by_race()
    assert set(probes.attributes) == {"next_step", "warmth", "refusal"}
    assert all("{name}" in facts for facts, _ in probes.prompts)
    Message(role="user", content=probes.prompts[0][0].format(name="Sam"))
