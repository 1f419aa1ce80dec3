"""A piece of personal data in a text."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Found(NamedTuple):
    """Personal data at ``text[start:end]``; ``kind`` becomes the placeholder, for example ``phone``."""

    start: int
    end: int
    kind: str


Detector = Callable[[str], Iterator[Found]]


def announced(cue: re.Pattern[str], text: str, start: int, within: int) -> bool:
    """Whether ``cue`` occurs in the ``within`` characters before ``start``, in the same sentence."""
    before = text[max(0, start - within) : start]
    sentence = re.split(r"[!?\n]|(?<![\s.]\w)(?<!No)\.\s", before)[-1]
    return cue.search(sentence) is not None
