"""Filter ``injection``: instructions to the model in what a candidate sends, such as a CV, by the patterns of ``injection.toml``.

Patterns are searched in the text after :func:`~serving.safety.normalisation.normalised`, in what its hidden characters and Base64 runs say,
and in letters that were spaced out.
"""

import base64
import binascii
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from serving.safety.normalisation import is_variation_selector, normalised, without_invisible

_TAGS = re.compile(r"[\U000e0020-\U000e007e]{2,}")  # invisible copies of the ASCII characters
_FLAG = re.compile(r"\U0001f3f4[\U000e0061-\U000e007a\U000e0030-\U000e0039]{2,6}\U000e007f")  # the flags of England, Scotland and Wales
_OVERRIDE = re.compile("[\u202d\u202e]")  # text that is shown in another order than it is read
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{24,4000}={0,2}(?![A-Za-z0-9+/=])")
_SPACED = re.compile(r"(?<!\w)(?:\w[ ._-]){5,400}\w(?!\w)")
MARK, END = "<<<", ">>>"
_MARKERS = re.compile(
    r"<<<|>>>|\[/?INST\]|<</?SYS>>|<\|?/?\s?(?:im_start|im_end|im_sep|system|assistant|user|start_of_turn|end_of_turn|eot_id|"
    r"start_header_id|end_header_id|s)\s?\|?>",
    re.I,
)


def findings(text: str) -> list[str]:
    """The kinds of injection in a message, such as ``override``, ``role_marker`` or ``hidden_text``."""
    found = dict.fromkeys(_hidden(text))
    plain = normalised(text)
    found |= dict.fromkeys(_instructions(plain))
    for words in (*_tag_texts(text), *_decoded(plain)):
        if kinds := _instructions(words):
            found |= dict.fromkeys(["encoded", *kinds])
    for spaced in _SPACED.findall(plain):
        if re.search(rules()["spaced"], re.sub(r"[\W_]", "", spaced)):
            found["override"] = None
    return list(found)


def quoted(text: str) -> str:
    """The message as data: visible characters only, between marks, with the chat templates' own marks broken up."""
    visible = _MARKERS.sub(lambda mark: " ".join(mark.group()), without_invisible(text))
    return f"The candidate sent this text.\n{MARK}\n{visible.strip()}\n{END}"


@cache
def rules() -> dict[str, re.Pattern[str]]:
    """The compiled patterns of ``injection.toml`` by kind."""
    table: dict[str, Any] = tomllib.loads(files("serving.safety").joinpath("injection.toml").read_text(encoding="utf-8"))
    words: dict[str, str] = table.pop("words")

    def filled(pattern: str) -> str:
        while re.search(r"<[a-z]+>", pattern):
            pattern = re.sub(r"<([a-z]+)>", lambda found: f"(?:{words[found[1]]})", pattern)
        return pattern

    return {kind: re.compile("|".join(map(filled, group["patterns"])), re.I | re.M) for kind, group in table.items()}


def _instructions(text: str) -> list[str]:
    # an instruction may be broken over lines, and some patterns begin at the beginning of one
    forms = dict.fromkeys((re.sub(r"[ \t]+", " ", text), re.sub(r"\s+", " ", text)))
    return [kind for kind, pattern in rules().items() if kind != "spaced" and any(map(pattern.search, forms))]


def _hidden(text: str) -> Iterator[str]:
    if _TAGS.search(_FLAG.sub("", text)) or _OVERRIDE.search(text):
        yield "hidden_text"
    run = 0
    for character in text if not text.isascii() else "":
        run = run + 1 if is_variation_selector(character) else 0
        if run == 4:  # they can carry bytes
            yield "hidden_text"
            return


def _tag_texts(text: str) -> list[str]:
    return ["".join(chr(ord(each) - 0xE0000) for each in run) for run in _TAGS.findall(_FLAG.sub("", text))]


def _decoded(text: str) -> Iterator[str]:
    for run in _BASE64.findall(text)[:20]:
        try:
            decoded = base64.b64decode(run + "=" * (-len(run) % 4), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue
        if decoded.isprintable():
            yield decoded
