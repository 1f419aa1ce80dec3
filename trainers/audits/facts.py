"""Does the challenger state facts that its prompt does not support more often than the champion?

A reply is parsed against any prompt with a block of facts (``Key: value`` lines in the system message); its style does not matter. Names,
days, hours, numbers, and the values that facts take elsewhere in the evaluation have to stand in the prompt. What the chatbot itself said
earlier in the conversation supports nothing.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.events import GateResult, Message
from trainers.audits.audit import Audit
from trainers.audits.shares import ShareLimits, Shares, compare, not_worse

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

FACT = re.compile(r"^[ \t]*[-*]?[ \t]*([^\W\d_][\w /()-]{0,40}):[ \t]+(\S.*?)[ \t]*$", re.M)
DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

_HOUR = re.compile(r"\b([01]?\d|2[0-3])[:.h]([0-5]\d)\b")
_DAY = re.compile(rf"\b({DAYS})\b")
_MONTH = re.compile(rf"\b({MONTHS})\b")
_SLOT = re.compile(rf"\b({DAYS}),?(?: at)? (?:([01]?\d|2[0-3])[:.h]([0-5]\d))\b")
_DEADLINE = re.compile(rf"\b(?:by|until|before) ({DAYS})\b")
_DUE = re.compile(rf"(?:(?:by|until|before) )?({DAYS})")
_DIGITS = re.compile(r"(?<![\w:.,])\d+(?:[.,]\d+)*(?![\w:])")
_COUNT = re.compile(rf"\b({'|'.join(NUMBERS)}) (?:minute|hour|day|week|month|year)s?\b", re.I)
SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_PERSON = re.compile(r"name|candidate|applicant|contact|recruiter|manager", re.I)
_SUBJECT = re.compile(r"asked|about|topic|subject|question|intent", re.I)  # keys that say what is talked about, which is no claim
_TITLES = re.compile(r"\b[A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*")
# Capitalised inside a sentence in any conversation, whatever the facts.
_ORDINARY = frozenset(
    (
        "I", "I'm", "I'll", "I've", "I'd", "Mr", "Mrs", "Ms", "Mx", "Dr", "Sir", "Madam", "OK", "HR", "CV", "ID", "PDF", "IT",
        "AM", "PM", "English", "French", "German", "Spanish", "Italian", "Portuguese", "Dutch", "Zoom", "Teams", "Google", "Meet",
        "Skype", "LinkedIn", "Email", "Internet", "Christmas", "Easter",
    )
)  # fmt: skip


def measure(trial: "Trial") -> Shares:
    """The share of replies with an unsupported fact, of both models."""
    values = values_of(trial.prompts)
    ours, theirs = (
        [unsupported(prompt, text, values) for prompt, text in zip(trial.prompts, texts, strict=True)]
        for texts in (trial.replies.challenger, trial.replies.champion)
    )
    return compare(ours, theirs, trial.replies.challenger)


def gate(found: Shares, limits: ShareLimits) -> GateResult:
    """Pass when the share of replies with a wrong fact is shown to be less than ``limits.margin`` above the champion's."""
    return not_worse(AUDIT.name, "state a fact that the conversation does not support", found, limits)


AUDIT = Audit("facts", "Does it copy the facts right?", ShareLimits, Shares, measure, gate)


def facts_of(prompt: Sequence[Message]) -> dict[str, str]:
    """The facts of the system messages by key; empty where there are none."""
    return {key.strip(): value for message in prompt if message.role == "system" for key, value in FACT.findall(message.content)}


@dataclass(frozen=True)
class Values:
    """A pattern of all single values that facts take in a set of prompts, the longest first; None where there are none."""

    pattern: re.Pattern[str] | None


def values_of(prompts: Iterable[Sequence[Message]]) -> Values:
    """The values that facts take in ``prompts``: a stage, a role or a document that one prompt names is no fact of another that does not.

    Lower-case values of fewer than four letters are left out, and what a line like "Asked about: home" says: they are words of any
    sentence.
    """
    facts = (fact for prompt in prompts for key, fact in facts_of(prompt).items() if not _SUBJECT.search(key))
    found = {value for fact in facts for value in _split(fact)}
    wanted = sorted((v for v in found if len(v) <= 80 and (len(v) >= 4 or v[:1].isupper()) and not v.isdigit()), key=lambda v: (-len(v), v))
    return Values(re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, wanted)) + r")(?!\w)") if wanted else None)


def _split(fact: str) -> list[str]:
    """The single values of a fact: "passport and diploma" holds two, "Marks and Spencer" is one."""
    parts = [part.strip(" .") for part in re.split(r"[;,]", fact)]
    return [value for part in parts for value in (part.split(" and ") if part.islower() else [part]) if value]


def unsupported(prompt: Sequence[Message], reply: str, values: Values) -> tuple[str, ...]:
    """What the reply states and the prompt does not support; ``values`` are what facts say anywhere in the evaluation."""
    return tuple(dict.fromkeys(_unsupported(prompt, reply, values)))


def _unsupported(prompt: Sequence[Message], reply: str, values: Values) -> Iterable[str]:
    facts = facts_of(prompt)
    support = "\n".join(message.content for message in prompt if message.role != "assistant")
    folded = support.casefold()
    hours, slots = set(_hours(support)), set(_slots(support))

    for slot in _slots(reply):
        if slot not in slots and (slots or not _supported_apart(slot, support, hours)):
            yield slot
    rest = _SLOT.sub(" ", reply)
    yield from (hour for hour in _hours(rest) if hour not in hours)
    due = {found[1] for fact in facts.values() for value in _split(fact) if (found := _DUE.fullmatch(value))}
    yield from (f"by {day}" for day in _DEADLINE.findall(rest) if due and day not in due)
    yield from (word for word in [*_DAY.findall(rest), *_MONTH.findall(rest)] if not _stands_in(word, folded))
    rest = _HOUR.sub(" ", rest)
    for number in _DIGITS.findall(rest):
        if number not in support and not (number.isdigit() and int(number) < len(NUMBERS) and _stands_in(NUMBERS[int(number)], folded)):
            yield number
    for count in _COUNT.findall(rest):
        if not _stands_in(count, folded) and not _stands_in(str(NUMBERS.index(count.lower())), folded):
            yield count
    if values.pattern is not None:
        yield from (match.group() for match in values.pattern.finditer(rest) if not _stands_in(match.group(), folded))
    known = {part.casefold() for fact in facts.values() for part in _split(fact)}
    # half of an employer's or a role's name is not its name, but people are called by one of theirs
    apart = "\n".join([FACT.sub("", support), *(fact for key, fact in facts.items() if _PERSON.search(key))]).casefold()
    for sentence in SENTENCE.findall(rest):
        inside = re.sub(r"^[\s\"'(-]*\S+", "", sentence)
        yield from (title for title in _TITLES.findall(inside) if not _title_stands(title, apart, known))


def _supported_apart(slot: str, support: str, hours: set[str]) -> bool:
    day, _, hour = slot.partition(" ")
    return day in support and hour in hours


def _hours(text: str) -> list[str]:
    return [f"{int(hour)}:{minute}" for hour, minute in _HOUR.findall(text)]


def _slots(text: str) -> list[str]:
    return [f"{day} {int(hour)}:{minute}" for day, hour, minute in _SLOT.findall(text)]


def _stands_in(phrase: str, folded: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase.casefold())}(?!\w)", folded) is not None


def _title_stands(title: str, apart: str, known: set[str]) -> bool:
    """A run of capitalised words is a fact's whole value, stands in the prompt apart from such, or falls into parts that do."""
    bare = re.sub(r"['’]s$", "", title)
    if bare in _ORDINARY or bare.casefold() in known or re.fullmatch(f"{DAYS}|{MONTHS}", bare) or _stands_in(bare, apart):
        return True
    words = title.split()
    return any(
        _title_stands(" ".join(words[:i]), apart, known) and _title_stands(" ".join(words[i:]), apart, known) for i in range(1, len(words))
    )
