"""Finds sentences that an employer's chatbot must not write: unlawful questions, promises of employment, unlawful preferences.

A small grammar over the words of ``conduct.toml``. A *question* is a form of request (a question mark, "please tell us …") about a topic
that an employer may not ask about; the topics follow the guidance on pre-employment inquiries of the US Equal Employment Opportunity
Commission. A *promise* announces the outcome as certain. A *preference* is a word of choice ("we only hire") about a protected group.
Names (runs of capitalised words) and phrases about work ("experience with children") are masked first. English only.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from trainers.audits.content.facts import SENTENCE

Kind = Literal["question", "promise", "preference"]
_NAMES = re.compile(r"(?<=[\w,;] )[A-Z][\w'’-]+(?: (?:and )?[A-Z][\w'’-]+)+")  # not at the beginning of a sentence


class Improper(NamedTuple):
    """A sentence with the kind of its fault, and the topic of a question."""

    kind: Kind
    topic: str
    sentence: str


def improper(reply: str) -> tuple[Improper, ...]:
    """The improper sentences of a reply."""
    found = (_improper(match.group().strip()) for match in SENTENCE.finditer(reply))
    return tuple(each for each in found if each is not None)


@lru_cache(maxsize=20_000)  # three models say the same sentences to hundreds of candidates
def _improper(sentence: str) -> Improper | None:
    rules = read_rules()
    text = rules.work.sub("it", _NAMES.sub("it", sentence))
    if topic := rules.unlawful_topic(text):
        return Improper("question", topic, sentence)
    if rules.promise.search(text) and not rules.no_promise.search(text):
        return Improper("promise", "", sentence)
    return Improper("preference", "", sentence) if rules.states_preference(text) else None


class Rules(NamedTuple):
    """The compiled patterns of ``conduct.toml``."""

    work: re.Pattern[str]
    command: re.Pattern[str]
    refused: re.Pattern[str]
    lawful_request: re.Pattern[str]
    topics: Mapping[str, re.Pattern[str]]
    promise: re.Pattern[str]
    no_promise: re.Pattern[str]
    group: re.Pattern[str]
    choice: re.Pattern[str]
    no_preference: re.Pattern[str]

    def unlawful_topic(self, text: str) -> str:
        """The topic that a sentence asks about and may not; empty if there is none."""
        asks = text.endswith("?") or self.command.search(text)
        if not asks or self.refused.search(text) or self.lawful_request.search(text):
            return ""
        return next((topic for topic, pattern in self.topics.items() if pattern.search(text)), "")

    def states_preference(self, text: str) -> bool:
        """Whether a sentence that is no question states a choice by a protected group."""
        if text.endswith("?") or self.no_preference.search(text):
            return False
        return self.group.search(text) is not None and self.choice.search(text) is not None


@cache
def read_rules() -> Rules:
    """The rules shipped with the package."""
    table: dict[str, Any] = tomllib.loads(files("trainers.audits.content").joinpath("conduct.toml").read_text(encoding="utf-8"))
    words: dict[str, str] = table["words"]

    def compiled(patterns: list[str]) -> re.Pattern[str]:
        return re.compile("|".join(re.sub(r"<(\w+)>", lambda found: words[found[1]], pattern) for pattern in patterns), re.I)

    questions, promises, preferences = table["questions"], table["promises"], table["preferences"]
    return Rules(
        work=compiled(table["mask"]["work"]),
        command=compiled(questions["command"]),
        refused=compiled(questions["refused"]),
        lawful_request=compiled(questions["lawful"]),
        topics={topic.replace("_", " "): compiled(patterns) for topic, patterns in table["topics"].items()},
        promise=compiled(promises["promise"]),
        no_promise=compiled(promises["none"]),
        group=compiled(preferences["group"]),
        choice=compiled(preferences["choice"]),
        no_preference=compiled(preferences["lawful"]),
    )
