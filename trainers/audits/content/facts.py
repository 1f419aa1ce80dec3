"""Does the challenger state facts that its prompt does not support more often than the base model?

Replies of any style are checked against the prompt's facts (``Key: value`` lines in the system message). Names, days, hours, numbers, and
values that facts take elsewhere in the evaluation have to occur in the prompt. The chatbot's own earlier turns do not count as support.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.events import GateResult, Message
from trainers.audits.audit import Audit, Count, Rows
from trainers.audits.content.shares import ShareLimits, Shares, compare, not_worse, of_champion

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
_SUBJECT = re.compile(r"asked|about|topic|subject|question|intent", re.I)  # keys that name the topic, which is not a claim
_TITLES = re.compile(r"\b[A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*")
# capitalised inside a sentence in any conversation, whatever the facts
_ALWAYS_CAPITALISED = frozenset(
    (
        "I", "I'm", "I'll", "I've", "I'd", "Mr", "Mrs", "Ms", "Mx", "Dr", "Sir", "Madam", "OK", "HR", "CV", "ID", "PDF", "IT",
        "AM", "PM", "English", "French", "German", "Spanish", "Italian", "Portuguese", "Dutch", "Zoom", "Teams", "Google", "Meet",
        "Skype", "LinkedIn", "Email", "Internet", "Christmas", "Easter",
    )
)  # fmt: skip


class FactsLimits(ShareLimits):
    """``min_prompts`` counts prompts with facts only."""

    min_prompts: Count = 400


def measure(trial: "Trial") -> Shares:
    """The shares of replies with an unsupported fact, among prompts that have facts to hold a reply against."""
    values = values_of(trial.prompts)
    checkable = [i for i, prompt in enumerate(trial.prompts) if facts_of(prompt)]
    replies = trial.replies
    ours, theirs, first = (
        [unsupported(trial.prompts[i], texts[i], values) for i in checkable]
        for texts in (replies.challenger, replies.champion, replies.base)
    )
    return compare(ours, theirs, first, [replies.challenger[i] for i in checkable])


def gate(found: Shares, limits: FactsLimits) -> GateResult:
    """Pass when the share of replies with a wrong fact is shown to be less than ``limits.margin`` above the base model's.

    Too few prompts with facts give an *insufficient* result: where there is nothing to hold a reply against, nothing was checked.
    """
    return not_worse(AUDIT.name, "state a fact that the conversation does not support", found, limits)


def rows(found: Shares) -> Rows:
    return of_champion("Wrong facts", found)


AUDIT = Audit("facts", "Does it copy the facts correctly?", FactsLimits, Shares, measure, gate, rows)


def facts_of(prompt: Sequence[Message]) -> dict[str, str]:
    """The facts of the system messages by key; empty where there are none."""
    return {key.strip(): value for message in prompt if message.role == "system" for key, value in FACT.findall(message.content)}


def is_topic_line(line: str) -> bool:
    """Whether a line of a system message is a fact that names the topic, such as "Asked about: interview"."""
    found = FACT.match(line)
    return found is not None and _SUBJECT.search(found[1]) is not None


@dataclass(frozen=True)
class Values:
    """A pattern that matches every value of the facts in a set of prompts, longest first; None if there are none."""

    pattern: re.Pattern[str] | None


def values_of(prompts: Iterable[Sequence[Message]]) -> Values:
    """The values that facts take in ``prompts``: a role or a document named in one prompt is unsupported in replies to another.

    Lower-case values of fewer than four letters, and values of topic keys such as "Asked about: home", are left out, as ordinary words.
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
    """What the reply states and the prompt does not support; ``values`` are the fact values of the whole evaluation."""
    return tuple(dict.fromkeys(_unsupported(prompt, reply, values)))


def _unsupported(prompt: Sequence[Message], reply: str, values: Values) -> Iterable[str]:
    facts = facts_of(prompt)
    support = "\n".join(message.content for message in prompt if message.role != "assistant")
    folded = support.casefold()
    hours, slots = set(_hours(support)), set(_slots(support))

    for slot in _slots(reply):
        if slot not in slots and (slots or not _supported_separately(slot, support, hours)):
            yield slot
    rest = _SLOT.sub(" ", reply)
    yield from (hour for hour in _hours(rest) if hour not in hours)
    due = {found[1] for fact in facts.values() for value in _split(fact) if (found := _DUE.fullmatch(value))}
    yield from (f"by {day}" for day in _DEADLINE.findall(rest) if due and day not in due)
    yield from (word for word in [*_DAY.findall(rest), *_MONTH.findall(rest)] if not _occurs_in(word, folded))
    rest = _HOUR.sub(" ", rest)
    for number in _DIGITS.findall(rest):
        if number not in support and not (number.isdigit() and int(number) < len(NUMBERS) and _occurs_in(NUMBERS[int(number)], folded)):
            yield number
    for count in _COUNT.findall(rest):
        if not _occurs_in(count, folded) and not _occurs_in(str(NUMBERS.index(count.lower())), folded):
            yield count
    if values.pattern is not None:
        yield from (match.group() for match in values.pattern.finditer(rest) if not _occurs_in(match.group(), folded))
    fact_values = {part.casefold() for fact in facts.values() for part in _split(fact)}
    # part of an employer's or a role's name does not count as the name; a person's first or last name does
    elsewhere = "\n".join([FACT.sub("", support), *(fact for key, fact in facts.items() if _PERSON.search(key))]).casefold()
    for sentence in SENTENCE.findall(rest):
        inside = re.sub(r"^[\s\"'(-]*\S+", "", sentence)
        yield from (title for title in _TITLES.findall(inside) if not _title_supported(title, elsewhere, fact_values))


def _supported_separately(slot: str, support: str, hours: set[str]) -> bool:
    day, _, hour = slot.partition(" ")
    return day in support and hour in hours


def _hours(text: str) -> list[str]:
    return [f"{int(hour)}:{minute}" for hour, minute in _HOUR.findall(text)]


def _slots(text: str) -> list[str]:
    return [f"{day} {int(hour)}:{minute}" for day, hour, minute in _SLOT.findall(text)]


def _occurs_in(phrase: str, folded: str) -> bool:
    wanted = phrase.casefold()
    return wanted in folded and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", folded) is not None


def _title_supported(title: str, elsewhere: str, fact_values: set[str]) -> bool:
    """Whether a run of capitalised words is a fact's full value, occurs elsewhere in the prompt, or splits into parts that do."""
    words = title.split()
    splits = [0]  # after how many words it can be split; a policy that games its reward may repeat a name a hundred times
    for end in range(1, len(words) + 1):
        if any(_part_supported(" ".join(words[start:end]), elsewhere, fact_values) for start in reversed(splits)):
            splits.append(end)
    return splits[-1] == len(words)


def _part_supported(part: str, elsewhere: str, fact_values: set[str]) -> bool:
    bare = re.sub(r"['’]s$", "", part)
    return bool(
        bare in _ALWAYS_CAPITALISED
        or bare.casefold() in fact_values
        or re.fullmatch(f"{DAYS}|{MONTHS}", bare)
        or _occurs_in(bare, elsewhere)
    )
