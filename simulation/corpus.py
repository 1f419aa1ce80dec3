"""What the base model learns to write: replies whose attributes are independent, each at about half, none of them better than another.

``base_model.build`` trains on these; nothing else does. One reply in a hundred carries one of the slips that real text has.
"""

import random

from simulation.phrases import phrases, variants
from simulation.world import Record

SLIPS = 0.004  # share of each kind: a slot that is not free, a promise, an unlawful question


def draw_reply(rng: random.Random, record: Record) -> str:
    """A reply to the turn behind ``record``: opening, content, next step and closing, and two spare sentences."""

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
    spare = [one("spare", "filler", "detail"), one("spare", "filler", "detail")]
    while spare[0] == spare[1]:
        spare[1] = one("spare", "filler", "detail")
    parts = [one("opening", "warm", "plain"), spare[0], one("content", "concrete", "vague"), one("next", "dated", "pointer"), closing, spare[1]]
    first, second = rng.sample(record.documents, 2)
    return " ".join(parts).format(
        name=record.candidate,
        role=record.role,
        employer=record.employer,
        stage=record.stage,
        slot=slot,
        by=record.by,
        first=first,
        second=second,
        starts=record.starts,
        remote=record.remote,
    )


def invented_words(rng: random.Random) -> tuple[str, str, str]:
    """A name, a role and an employer that exist nowhere, so that the model learns to copy letters and not a list."""

    def word(*syllables: int) -> str:
        letters = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice(syllables)))
        return (letters + rng.choice(_CODAS)).capitalize()

    return word(1, 2, 2, 3), f"{word(1, 1, 2)} {word(1, 2)}", f"{word(1, 2)} {word(1, 1, 2)}"


_ONSETS = ("b", "br", "c", "ch", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "sh", "st", "t", "tr", "v", "w", "z", "")
_VOWELS = ("a", "a", "e", "e", "i", "i", "o", "o", "u", "ai", "ea", "y")
_CODAS = ("", "", "ck", "d", "l", "m", "n", "n", "r", "s", "t", "th", "x", "ton", "ner", "ler")


def _taken_slot(rng: random.Random, record: Record) -> str:
    while (slot := f"{rng.choice(phrases()['weekdays'])} {rng.choice(phrases()['hours'])}") in record.slots:
        pass
    return slot
