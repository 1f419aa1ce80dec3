"""The words of the simulation, to compare the audits' own with."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from simulation.off_topic import off_topic
from simulation.phrases import phrases

SECTIONS = ("before", "after", "asks", "opening", "lead", "content", "next", "aside", "closing", "slips")


def simulated_names() -> set[str]:
    """Every first name of the simulation and of the shipped model's training text."""
    return set(_texts(phrases()["names"])) | {row["candidate"] for row in _handwritten()}


def simulated_roles() -> set[str]:
    return set(_texts(phrases()["roles"])) | {row["role"] for row in _handwritten()}


def simulated_employers() -> set[str]:
    return set(_texts(phrases()["employers"])) | {row["employer"] for row in _handwritten()}


def simulated_sentences() -> set[str]:
    """Every sentence that a simulated candidate or a reply of the training text may hold, in a form that ignores what is filled in."""
    texts = [text for section in SECTIONS for text in _texts(phrases()[section])]
    return set(sentences([*texts, *_texts(off_topic()), *(row["ask"] for row in _handwritten())]))


def sentences(texts: Iterable[str]) -> Iterator[str]:
    """The sentences in a form that ignores case, placeholders and punctuation; greetings of two words are left out."""
    for text in texts:
        for sentence in re.split(r"[.!?:\n]", text):
            words = re.findall(r"[a-z']+", re.sub(r"\{\w+\}", " ", sentence).lower())
            if len(words) > 2:
                yield " ".join(words)


def _handwritten() -> list[dict[str, str]]:
    with Path("simulation/handwritten.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
