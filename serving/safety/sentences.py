"""Cuts a reply into sentences, the same ones whether it comes whole or in pieces.

A sentence ends at punctuation before white space, at a blank line, before an item of a list, and at ``MAX_SENTENCE`` characters at the
latest, which bounds what a stream holds back. White space belongs to the sentence after it, so that leaving one out leaves no gap.
"""

import re

MAX_SENTENCE = 1000
_AHEAD = 32  # characters after a possible end that can still decide about it

_END = re.compile(r"""[.!?…]+["'”’»)\]*_]{0,4}(?=\s)|[。！？]|(?=\n[ \t]{0,20}\n)|(?=\n[ \t]{0,20}(?:[-*•]|\d{1,3}[.)])[ \t])""")
_NO_END = re.compile(r"(?:^|\n)\s*(?:\d{1,3}|[A-Za-z])\.$|\b(?:Mr|Mrs|Ms|Mx|Dr|Prof|No|Nr|approx|vs|e\.g|i\.e|z\.B)\.$")


def cut(text: str, *, final: bool) -> tuple[list[str], str]:
    """The complete sentences at the beginning of ``text``, and the rest; with ``final`` there is no rest.

    Whatever the pieces in which a text arrives, its sentences are the same, and joined they are the text.
    """
    sentences = []
    while (end := _end_of_first(text, final)) is not None:
        sentences.append(text[:end])
        text = text[end:]
    return sentences, text


def _end_of_first(text: str, final: bool) -> int | None:
    start = len(text) - len(text.lstrip())
    if start >= MAX_SENTENCE:  # nothing but white space
        return MAX_SENTENCE
    limit = start + MAX_SENTENCE
    position = start
    while (match := _END.search(text, position, limit + _AHEAD)) and match.end() <= limit:
        if not _NO_END.search(text[start : match.end()]):
            return match.end()
        position = max(match.end(), position + 1)  # a match before a line break is empty
    if len(text) >= limit + _AHEAD or (final and len(text) > limit):
        space = text.rfind(" ", start + 1, limit)
        return space if space > start else limit
    return len(text) if final and text else None
