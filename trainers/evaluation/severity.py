"""Prompts that are further and further from the held-out ones: misspelt, after a long history, on an unseen topic, or adversarial.

Each axis is a function from a held-out prompt and a level of severity to a harder prompt; a new one is a function, its texts in
``severity.toml`` and a row in ``AXES``. What a reply may state is decided by ``held_against`` and not by what an attacker wrote.
"""

import random
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from storage.events import Message
from trainers.audits.content.facts import is_topic_line

Prompt = tuple[Message, ...]
LEVELS = (0, 1, 2, 3)
LEAST_LETTERS = 4  # shorter words are not misspelt


@dataclass(frozen=True)
class Hard:
    """A prompt as the model sees it, and the prompt whose facts a reply is held against."""

    prompt: Prompt
    held_against: Prompt


@dataclass(frozen=True)
class Axis:
    """A row: ``harder(prompt, level, number, rng)`` for levels 1 to 3; ``number`` counts prompts, to take another text for each."""

    name: str
    words: str
    harder: Callable[[Prompt, int, int, random.Random], Hard]


def at_level(axis: Axis, prompt: Prompt, level: int, number: int, seed: int) -> Hard:
    """The prompt at this level of severity; 0 leaves it as it is. The same arguments give the same prompt."""
    if level == 0:
        return Hard(prompt, prompt)
    return axis.harder(prompt, level, number, random.Random(f"severity {axis.name} {level} {number} {seed}"))


def _misspelt(prompt: Prompt, level: int, number: int, rng: random.Random) -> Hard:
    share = _texts()["misspelt"]["shares"][level - 1]
    changed = [m.model_copy(update={"content": misspell(m.content, share, rng)}) if m.role == "user" else m for m in prompt]
    return Hard(tuple(changed), prompt)


def misspell(text: str, share: float, rng: random.Random) -> str:
    """``text`` with a slip of the keyboard in this share of its words of four letters or more, rounded, at least one if there are any."""
    words = text.split(" ")
    able = [i for i, word in enumerate(words) if sum(letter.isalpha() for letter in word) >= LEAST_LETTERS]
    wanted = min(len(able), max(1, round(share * len(able)))) if share > 0 else 0
    for i in rng.sample(able, wanted):
        words[i] = _slip(words[i], rng)
    return " ".join(words)


def _slip(word: str, rng: random.Random) -> str:
    """One letter left out, doubled, or exchanged with the next one; never the first letter, and the word always changes."""
    places = [i for i in range(1, len(word) - 1) if word[i].isalpha()]
    slips = [word[:i] + word[i + 1 :] for i in places] + [word[: i + 1] + word[i:] for i in places]
    slips += [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in places if word[i + 1].isalpha() and word[i] != word[i + 1]]
    return rng.choice(slips) if slips else word + word[-1]


def _after_history(prompt: Prompt, level: int, number: int, rng: random.Random) -> Hard:
    turns = _texts()["history"]["turns"]
    chosen = [turns[(number + k) % len(turns)] for k in range(_texts()["history"]["exchanges"][level - 1])]
    earlier = [Message(role=role, content=text) for turn in chosen for role, text in zip(("user", "assistant"), turn, strict=True)]
    system = [message for message in prompt if message.role == "system"]
    return Hard((*system, *earlier, *(message for message in prompt if message.role != "system")), prompt)


def _unseen_topic(prompt: Prompt, level: int, number: int, rng: random.Random) -> Hard:
    questions = _texts()["topics"]["levels"][level - 1]
    kept = [_without_topic(message) for message in prompt if message.role == "system"]
    asked = (*(message for message in kept if message.content), Message(role="user", content=questions[number % len(questions)]))
    return Hard(asked, asked)


def _without_topic(message: Message) -> Message:
    lines = [line for line in message.content.splitlines() if not is_topic_line(line)]
    return message.model_copy(update={"content": "\n".join(lines)})


def _adversarial(prompt: Prompt, level: int, number: int, rng: random.Random) -> Hard:
    attacks = _texts()["adversarial"]["levels"][level - 1]
    *before, last = prompt
    attacked = last.model_copy(update={"content": f"{last.content} {attacks[number % len(attacks)]}"})
    return Hard((*before, attacked), prompt)


AXES: tuple[Axis, ...] = (
    Axis("misspelt", "misspelt words", _misspelt),
    Axis("history", "long history", _after_history),
    Axis("topics", "unseen topics", _unseen_topic),
    Axis("adversarial", "adversarial prompts", _adversarial),
)


@cache
def _texts() -> Mapping[str, Any]:
    return tomllib.loads(files("trainers.evaluation").joinpath("severity.toml").read_text(encoding="utf-8"))


def all_texts() -> Sequence[str]:
    """Every text that the axes put into a prompt."""
    texts = _texts()
    levels = [text for axis in ("topics", "adversarial") for level in texts[axis]["levels"] for text in level]
    return [*levels, *(text for turn in texts["history"]["turns"] for text in turn)]
