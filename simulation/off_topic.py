"""Questions that no facts answer, read from ``off_topic.toml``, with the replies that turn them down, and a program that misspells.

Simulated candidates ask none of them. ``corpus`` trains the base model on those under "sft", ``base_model.figures`` measures it on the
others.
"""

import random
import string
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

from simulation.phrases import Split

Kind = Literal["off_topic", "general"]  # of a reply
WORK = "work"  # the questions about work with us, which get the general replies


@cache
def off_topic() -> dict[str, Any]:
    """The parsed file."""
    return tomllib.loads(Path(__file__).with_name("off_topic.toml").read_text("utf-8"))


@cache
def questions(split: Split) -> tuple[str, ...]:
    """All questions that have nothing to do with an application."""
    return tuple(question for kind, listed in off_topic()[split].items() if kind != WORK for question in listed)


@cache
def deflections(kind: Kind) -> tuple[str, ...]:
    """Every reply of one kind, whole."""
    parts = off_topic()["replies"][kind]
    return tuple(" ".join(part for part in (first, second) if part) for first in parts["first"] for second in parts["second"])


def misspelt(rng: random.Random, text: str, share: float = 0.25) -> str:
    """``text`` as typed in a hurry: about a ``share`` of its lower-case words misspelt; names, days and numbers stay as they are."""
    return " ".join(_misspelt_word(rng, word) if word.islower() and rng.random() < share else word for word in text.split())


def _misspelt_word(rng: random.Random, word: str) -> str:
    """One slip of the fingers: two letters swapped, one left out, doubled, or replaced by another."""
    if len(word) < 3:
        return word
    at = rng.randrange(len(word) - 1)
    match rng.randrange(4):
        case 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 1:
            return word[:at] + word[at + 1 :]
        case 2:
            return word[:at] + word[at] + word[at:]
        case _:
            return word[:at] + rng.choice(string.ascii_lowercase) + word[at + 1 :]
