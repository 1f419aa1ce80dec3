"""The base model's training corpus: replies with independent attributes, each in about half of them and none preferred.

``base_model.build`` trains on these; nothing else does. One reply in a hundred carries one of the slips that real text has.
"""

import random
import re
from collections.abc import Sequence
from functools import cache

from simulation.off_topic import WORK, Kind, deflections, misspelt, off_topic, questions
from simulation.phrases import phrases, variants
from simulation.world import OTHER, Conversation, Message, Record, facts_message

SLIPS = 0.004  # share of each kind of slip: a slot that is not free, a promise, an unlawful question


def draw_reply(rng: random.Random, record: Record) -> str:
    """A reply to the turn behind ``record``: an opening, a lead to the content, the content, the next step, an aside, and a closing."""

    def one(part: str, *values: str) -> str:
        return rng.choice(variants(part, rng.choice(values), record.matter))

    slot = next((s for s in record.slots if record.asked_day and s.startswith(record.asked_day)), None) or rng.choice(record.slots)
    slip = rng.random()
    if slip < SLIPS:
        slot = _taken_slot(rng, record)
    closing = one("closing", "question", "statement")
    if SLIPS <= slip < 2 * SLIPS:
        closing = rng.choice(phrases()["slips"]["promise"])
    elif 2 * SLIPS <= slip < 3 * SLIPS:
        closing = rng.choice(phrases()["slips"]["unlawful"])
    parts = [
        one("opening", "warm", "plain"),
        one("lead", "filler", "detail"),
        one("content", "concrete", "vague"),
        one("next", "dated", "pointer"),
        one("aside", "filler", "detail"),
        closing,
    ]
    return fill(" ".join(parts), record, slot)


def draw_deflection(rng: random.Random, conversation: Conversation) -> list[Message]:
    """A dialogue that ends with a question which no facts answer, and the reply that turns it down.

    Some stand in ``conversation``, after its facts, with the topic "other", and perhaps after a turn of it. Most are what a visitor types
    without any facts: something off-topic, something about work with us, or a candidate's own question, which nothing answers then.
    """
    if rng.random() < 0.2:
        record = conversation.records[0]
        messages = [facts_message(record, [record.matter], topic=OTHER)]
        if rng.random() < 0.3:
            messages += [
                {"role": "user", "content": conversation.asks[0]},
                {"role": "assistant", "content": draw_reply(rng, record)},
            ]
        return messages + _turned_down(rng, rng.choice(questions("sft")), "off_topic")
    messages = [{"role": "system", "content": rng.choice(off_topic()["systems"]["sft"])}] if rng.random() < 0.15 else []
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        draw = rng.random()
        if draw < 0.75:
            messages += _turned_down(rng, rng.choice(questions("sft")), "off_topic")
        else:
            messages += _turned_down(rng, rng.choice(off_topic()["sft"][WORK]) if draw < 0.82 else conversation.asks[0], "general")
    return messages


def _turned_down(rng: random.Random, question: str, kind: Kind) -> list[Message]:
    return [{"role": "user", "content": _as_typed(rng, question)}, {"role": "assistant", "content": rng.choice(deflections(kind))}]


def _as_typed(rng: random.Random, question: str) -> str:
    """``question`` as a visitor may type it: misspelt, without capitals or marks, with a greeting, or with words that nobody has seen."""
    draw = rng.random()
    if draw < 0.25:
        question = misspelt(rng, question, share=0.4)
    elif draw < 0.45:
        question = " ".join(rng.choice(invented()).lower() if rng.random() < 0.4 else word for word in question.split())
    if rng.random() < 0.3:
        question = question.lower().rstrip(".?!") or question
    if rng.random() < 0.1:
        question = f"{rng.choice(('Hi,', 'Hello,', 'Hey,', 'Please,', 'So,', 'Ok,'))} {question}"
    return question


def draw_recital(rng: random.Random, record: Record) -> str:
    """Each of the record's facts once, in random order: trains copying alone, without style."""
    cues = [rng.choice(cue) for cue in _CUES]
    rng.shuffle(cues)
    return fill(f"{rng.choice(_GREETINGS)} {', '.join(cues)}.", record, rng.choice(record.slots))


_GREETINGS = ("Hello {name},", "Dear {name},", "Thank you so much for writing, {name}!", "To {name},", "I hope you are well, {name}!")
_CUES = (  # in each a fact, among the words that stand next to it in replies
    ("for {role}", "for {role} at {employer}", "as {role}", "your {role} application", "the {role} interview", "the {role} role"),
    ("at {employer}", "at {employer} in {starts}"),
    ("the stage {stage}", "has reached the {stage}", "now at the {stage}"),
    ("on {slot}", "will be on {slot}"),
    ("your {first} and {second}",),
    ("in {starts}",),
    ("working from home {remote} a week",),
    ("by {by}", "will follow by {by}"),
)


def fill(text: str, record: Record, slot: str) -> str:
    """``text`` with its placeholders filled from the record."""
    return text.format(
        name=record.candidate,
        role=record.role,
        employer=record.employer,
        stage=record.stage,
        slot=slot,
        by=record.by,
        first=record.documents[0],
        second=record.documents[1],
        starts=record.starts,
        remote=record.remote,
    )


def invented_words(rng: random.Random) -> tuple[str, str, str]:
    """A name, a role and an employer of made-up words, so that the model learns to copy and not to memorise a list."""
    return subject_of(rng, invented())


def subject_of(rng: random.Random, words: Sequence[str]) -> tuple[str, str, str]:
    """A name, a role and an employer made of any of these words."""
    name, *rest = rng.sample(words, 5)
    return name, f"{rest[0]} {rest[1]}", f"{rest[2]} {rest[3]}"


@cache
def invented() -> tuple[str, ...]:
    """256 made-up words."""
    rng = random.Random("invented")
    words: dict[str, None] = {}
    while len(words) < 256:
        letters = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice((1, 2))))
        word = (letters + rng.choice(_CODAS)).capitalize()
        if len(word) > 2:
            words[word] = None
    return tuple(words)


@cache
def every_word() -> tuple[str, ...]:
    """Every word of all names, roles and employers, and the invented words, for copying practice outside dialogues.

    Single words of the held-out lists are included, in random combinations; no held-out role or employer is, and none of their words
    appears in a dialogue or in a sentence of the corpus.
    """
    lists = phrases()
    full = [name for split in lists["names"].values() for group in split.values() for name in group]
    full += [name for kind in ("roles", "employers") for split in lists[kind].values() for name in split]
    return tuple(dict.fromkeys([*invented(), *(word for name in full for word in name.split())]))


def blurred(rng: random.Random, ask: str) -> str:
    """``ask`` with some words replaced by beginnings of others or by invented ones: real candidates use words that are in no list."""
    return " ".join(_other_word(rng) if rng.random() < 0.25 else word for word in ask.split())


def unheard(rng: random.Random) -> str:
    """A question of which no word helps: unknown words throughout, or one that is about something else."""
    if rng.random() < 0.4:
        return _as_typed(rng, rng.choice(questions("sft")))
    return " ".join(_other_word(rng) for _ in range(rng.randint(3, 14))).capitalize() + rng.choice(("?", "?", ".", ""))


def _other_word(rng: random.Random) -> str:
    """The beginning of a word of the corpus, or an invented one."""
    return rng.choice(_seen_words())[: rng.randint(1, 9)] if rng.random() < 0.6 else rng.choice(invented()).lower()


@cache
def _seen_words() -> tuple[str, ...]:
    """The words of the corpus's sentences and of the "sft" lists, in lower case."""
    words = phrases()
    parts = ("opening", "lead", "content", "next", "aside", "closing")
    texts = [sentence for part in parts for value in words[part].values() for sentences in value.values() for sentence in sentences]
    texts += [ask for asks in words["asks"].values() for ask in asks["sft"]] + words["roles"]["sft"] + words["employers"]["sft"]
    return tuple(sorted(set(re.findall(r"(?<![{\w])[a-z]{3,}(?![}\w])", " ".join(texts).lower()))))


_ONSETS = ("b", "br", "c", "ch", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "sh", "st", "t", "tr", "v", "w", "z", "")
_VOWELS = ("a", "a", "e", "e", "i", "i", "o", "o", "u", "ai", "ea", "y")
_CODAS = ("", "", "ck", "d", "l", "m", "n", "n", "r", "s", "t", "th", "x", "ton", "ner", "ler")


def _taken_slot(rng: random.Random, record: Record) -> str:
    while (slot := f"{rng.choice(phrases()['weekdays'])} {rng.choice(phrases()['hours'])}") in record.slots:
        pass
    return slot
