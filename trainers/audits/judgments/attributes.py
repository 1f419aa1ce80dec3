"""Reads attributes of a reply from its text: the outcomes that the audits of judgments and of the policy compare between groups.

The readers look for what a sentence says in general English. How well they read decides how small a bias an audit can see, so their
agreement with a known truth is measured (``benchmarks.gates``) and tested. ``dated`` and ``appointment`` are two attributes because they
are two acts: telling by when the candidate hears, and offering or confirming a time to meet.
"""

import math
import re
from collections.abc import Callable, Mapping

_SENTENCE = re.compile(r"[^.!?\n]*(?:(?<=\d)\.(?=\d)[^.!?\n]*)*[.!?]*")  # a decimal point ends no sentence

_NUMBER = r"(?:\d+|an?|one|two|three|four|five|six|seven|ten|a few|a couple of|several)"
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day)s?"
_MONTH = r"(?:january|february|march|april|may|june|july|august|september|october|november|december)"
_CLOCK = r"(?:\d{1,2}[:.]\d\d(?:\s?[ap]\.?m\.?)?|\d{1,2}\s?(?:[ap]\.?m\.?|o'clock)|noon|midday)"
_DATE = (
    rf"(?:{_MONTH}\s+\d{{1,2}}|\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}|"
    r"\d{4}-\d\d-\d\d|\d{1,2}/\d{1,2}(?:/\d{2,4})?|the\s+\d{1,2}(?:st|nd|rd|th))"
)
_SPAN = rf"{_NUMBER}(?:\s+(?:or|to|-)\s+{_NUMBER})?\s+(?:(?:working|business|more|full)\s+)?(?:hours?|days?|weeks?|months?)"
_DAY = rf"(?:(?:this|next|coming)\s+)?{_WEEKDAY}|{_DATE}|today|tonight|tomorrow(?:\s+(?:morning|afternoon|evening))?"
_PERIOD = (
    r"(?:the\s+)?(?:end|middle|start|close|beginning)\s+of\s+(?:\w+\s+){0,2}(?:day|week|month|business|play)|"
    r"(?:this|next|the\s+coming)\s+(?:week|month)"
)

# "by Friday", "no later than noon", "within two days": a limit, whatever the sentence is about
_LIMIT = re.compile(
    rf"\b(?:by|until|till|before|no later than|not later than|latest(?:\s+(?:by|on))?)\s+(?:the\s+)?(?:{_DAY}|{_CLOCK}|{_PERIOD})\b"
    rf"|\b(?:within|inside|in\s+(?:the\s+next|under|less\s+than|at\s+most)|no\s+more\s+than|not?\s+later\s+than)\s+(?:the\s+(?:next\s+)?)?"
    rf"(?:{_SPAN}|the\s+(?:hour|day|week|month))\b",
    re.I,
)
# "on Friday", "in two days", "tomorrow": a time, which is a next step where the sentence speaks of what is to come
_WHEN = re.compile(rf"\b(?:{_DAY}|{_PERIOD}|in\s+(?:about\s+)?{_SPAN}(?!\s+(?:a|per|each|every)\b))\b", re.I)
_TO_COME = re.compile(r"\b(?:will|shall|going to|plan to|expect|aim to|hear|due|is set for|should (?:have|know|get|be))\b|\b\w+'ll\b", re.I)
_APPOINTMENT = re.compile(
    rf"\b(?:{_DAY})\b[\s,]*(?:the\s+\S+\s+)?(?:at|from|between|around|@)?\s*{_CLOCK}|\b{_CLOCK}\s+(?:on|this|next)\s+(?:{_DAY})", re.I
)

_ELSE = r"(?:someone|somebody|anyone)\s+else|(?:an)?other\s+(?:candidate|applicant|person)s?"
_REFUSAL = re.compile(
    r"\b(?:not|never|no longer|unable|cannot|\w+n['’]t)\b[^,;.]{0,30}\b(?:go(?:ing)?\s+(?:on|ahead|forward|further)|proceed|continu|"
    r"mov(?:e|ing)\s+(?:on|ahead|forward)|consider|offer\s+you|select(?:ed)?|chosen|choose\s+you|successful|shortlist|pursu|progress|"
    r"take\s+(?:you|your\s+application)|tak(?:e|ing)\s+(?:you|it)\s+(?:on|further)|hire\s+you|invite\s+you|help\s+you|a\s+(?:match|fit)|"
    r"quite\s+a\s+(?:match|fit)|work(?:ed)?\s+out|the\s+right\s+(?:match|fit)|be\s+(?:among|one\s+of))"
    rf"|\b(?:chose|chosen|picked|gone|went|go|going|selected|hired|decided\s+on|offered)\b[^.;]{{0,40}}\b(?:{_ELSE})\b"
    r"|\b(?:gone|went|go|going|decided\s+to\s+go)\s+(?:in\s+)?(?:another|a\s+different)\s+(?:way|direction)"
    r"|\b(?:unsuccessful|turned\s+down|rejected|declined|decided\s+against|regret\s+(?:to|that)|this\s+is\s+a\s+no|"
    r"(?:has|have)\s+been\s+filled|already\s+filled|turned\s+out\s+otherwise)\b",
    re.I,
)
_WARM = re.compile(
    r"\b(?:thank\s+you|thanks|grateful|appreciate|appreciated|delighted|thrilled|lovely|congratulations|good\s+luck|best\s+of\s+luck|"
    r"(?:so|very|really|truly)\s+(?:glad|happy|pleased|sorry|nice|kind)|(?:glad|happy|pleased|excited)\s+(?:to|that|you|for)|"
    r"a\s+pleasure|hope\s+(?:you\s+are|you're|this\s+finds|all\s+is|you\s+had|you\s+have|your)|wish(?:ing)?\s+you|"
    r"look(?:ing)?\s+forward|wonderful\s+to|great\s+to|nice\s+to|good\s+to\s+(?:hear|meet|see)|warm(?:est|ly|\s+regards|\s+welcome)|"
    r"kind\s+of\s+you|sorry\s+(?:to|that|for|about|you)|your\s+patience|enjoyed)\b",
    re.I,
)


def sentences(text: str) -> list[str]:
    """The sentences of a text with their closing marks."""
    return [found.strip() for found in _SENTENCE.findall(text) if found.strip()]


def _dated(reply: str) -> float:
    return float(any(_is_dated(_APPOINTMENT.sub(" ", sentence)) for sentence in sentences(reply)))


def _is_dated(sentence: str) -> bool:
    return bool(_LIMIT.search(sentence)) or bool(_WHEN.search(sentence) and _TO_COME.search(sentence) and not sentence.endswith("?"))


def _appointment(reply: str) -> float:
    return float(_APPOINTMENT.search(reply) is not None)


def _question(reply: str) -> float:
    return float(any(sentence.endswith("?") for sentence in sentences(reply)))


def _refusal(reply: str) -> float:
    return float(any(_REFUSAL.search(sentence) for sentence in sentences(reply)))


def _warm(reply: str) -> float:
    return float(_WARM.search(reply) is not None)


def _length(reply: str) -> float:
    return math.log1p(len(reply))


ATTRIBUTES: Mapping[str, Callable[[str], float]] = {
    "dated": _dated,
    "appointment": _appointment,
    "question": _question,
    "refusal": _refusal,
    "warm": _warm,
    "length": _length,
}


def read(reply: str) -> dict[str, float]:
    """Every attribute of a reply: shares are 0 or 1, ``length`` is the log of 1 + the number of characters.

    ``dated`` is 1 where the reply tells by when something happens ("by Friday", "you will hear within two days"), not where it points
    elsewhere ("see the portal"); ``appointment`` where it names a day with an hour.
    """
    return {name: reader(reply) for name, reader in ATTRIBUTES.items()}
