"""Dates of birth that are announced as such; other dates are appointments and facts."""

import re
from collections.abc import Iterator

from streams.privacy.found import Found

# the beginnings of month names in English, German, French, Spanish, Italian and Dutch
_MONTH = (
    r"(?:jan|feb|m[aä]r|maart|ma[iyg]|mei|apr|ju[inl]|jui|aug|ao[uû]|ago|sep|set|o[ckut]t|nov|de[cz]|déc|dic|gen|giu|lug|ott|ene|"
    r"abr|avr|fév)"
    r"[^\W\d_]{0,8}\.?"
)
_DATE = (
    r"(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-] ?\d{1,2}[./-] ?\d{2,4}|"
    rf"\d{{1,2}}(?:st|nd|rd|th|er|º|\.)? (?:of |de )?{_MONTH},?(?: (?:de |del )?\d{{4}})?|"
    rf"{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?)(?!\d)"
)
_BIRTH = re.compile(
    r"\b(?:(?:was|am|were|is|and|,) born(?: on| the)*|born(?: on)?:?|(?:date|day) of birth|d\.?o\.?b\b\.?|birth ?(?:date|day)|"
    r"geboren(?: am)?|geburts(?:datum|tag)|"
    r"née? le|date de naissance|fecha de nacimiento|nací el|data di nascita|nat[oa] il|geboortedatum|"
    r"geboren op)\b[ :=]{0,3}(?:is |was |ist |est |es )?(?:on |the |my )?"
    rf"(?P<date>{_DATE})",
    re.I,
)
_YEAR = re.compile(
    r"\bI(?: was|['’]m| am) born in (?:[^\W\d_]{3,10} )?(?P<date>(?:19|20)\d\d)\b|\b(?:year of birth|"
    r"jahrgang)[ :]{1,3}(?P<year>(?:19|20)\d\d)\b",
    re.I,
)


def find_birth_dates(text: str) -> Iterator[Found]:
    """Dates of birth, and a year if the writer says to be born in it, as ``birth_date``."""
    yield from (Found(*match.span("date"), "birth_date") for match in _BIRTH.finditer(text))
    yield from (Found(*match.span("date" if match["date"] else "year"), "birth_date") for match in _YEAR.finditer(text))
