"""Filter ``insults``: swearing, slurs and contempt for the reader, by the words of ``insults.toml``. English only."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from serving.safety.normalisation import normalised


def findings(text: str) -> list[str]:
    """The kinds of insults in a sentence: ``swearing``, ``slur``, ``contempt`` or ``dismissal``."""
    rules = _rules()
    line = rules["harmless"].sub(" ", " ".join(normalised(text).split()))
    return [kind for kind, pattern in rules.items() if kind != "harmless" and pattern.search(line)]


@cache
def _rules() -> dict[str, re.Pattern[str]]:
    table: dict[str, Any] = tomllib.loads(files("serving.safety").joinpath("insults.toml").read_text(encoding="utf-8"))
    words: dict[str, str] = table.pop("words")
    return {
        kind: re.compile("|".join(re.sub(r"<(\w+)>", lambda found: f"(?:{words[found[1]]})", each) for each in patterns["patterns"]), re.I)
        for kind, patterns in table.items()
    }
