"""Telephone numbers, by the numbering plans in ``phonenumbers``.

A number counts if it is valid in one of the regions and written like one: with ``+``, a leading zero or separators. After words that
announce a telephone number, plain digits and short local numbers count too. Dates, amounts, and digits after "job" or "reference" do not.
"""

import re
from collections.abc import Iterator, Sequence

from streams.privacy.found import Found, announced

MAX_CHECKED = 200  # runs of digits in one text that are read by the numbering plans, which takes up to 3 ms each

_DIGITS = re.compile(r"(?<![\w.,:/$€£@#-])\+?\(?\d[\d ()./\u00a0\u2010-\u2015-]{4,26}\d(?:(?=[xX]\d{1,6}\b)|(?![\w%$€£]|[:,]\d))")
_DATE = re.compile(r"(?:19|20)\d\d-\d{1,4}-\d{1,4}|\d{4}[-/. ]\d{1,2}[-/. ]\d{1,2}|\d{1,2}[-/. ]\d{1,2}[-/. ]\d{2,4}")
_YEARS = re.compile(r"(?:19|20)\d\d ?[-/\u2010-\u2015] ?(?:19|20)\d\d")
_GROUPED = re.compile(r"\d{1,3}(?:[. ]\d{3})+")  # 45 000
_MONEY_BEFORE = re.compile(r"(?:[$€£]|\b(?:USD|EUR|GBP|CHF|Rs|salary|budget|pay|wage)\b\D{0,12})\s?$", re.I)
_MONEY_AFTER = re.compile(
    r"\s?(?:[$€£%]|(?:USD|EUR|GBP|CHF|dollars|euros?|pounds|(?:a|per|an) (?:year|month|hour)|hours|people|units)\b)", re.I
)
_CUE = re.compile(
    r"\b(?:tele)?phone|\btel\b|\btel[ée]fono?\b|\bt[ée]l\b|\bmobile?\b|\bm[óo]vil\b|\bcell\b|\bcall(?:ed|ing)?\b|\bring\b|"
    r"\breach(?:ed)?\b|\btext\b|\bsms\b|"
    r"\bwhatsapp\b|\bsignal\b|\bfax\b|\bcontact\b|\b(?:my|his|her|their|your) (?:\w+ )?number\b|\bhandy\b|\btelefon\w*|"
    r"\brückruf\w*|\bcellulare\b",
    re.I,
)
_OTHER_NUMBER = re.compile(
    r"\b(?:job|req|requisition|ref|reference|vacancy|position|posting|advert|ticket|order|invoice|case|id|ids|employee|staff|application|"
    r"applicant|candidate|room|code|building|document|form|file|version|item|license|licence|batch|serial)\b(?: (?:no|nr|number|"
    r"code|id)\b)?"
    r"[^\w\n]{0,4}(?:(?:is|was|of) )?$",
    re.I,
)


def find_phones(text: str, regions: Sequence[str]) -> Iterator[Found]:
    """Telephone numbers as ``phone``; ``regions`` are the countries whose national format is read.

    From the 201st run of digits that may be one in a text, all count as telephone numbers: a bound on the time, on the safe side.
    """
    checked = 0
    for match in _DIGITS.finditer(text):
        written = match.group()
        if sum(map(str.isdecimal, written)) < 7 or _is_other(text, match):
            continue
        cue = written.startswith("+") or announced(_CUE, text, match.start(), 60)
        if not cue and _may_be_any_number(written) and not _is_a_line(text, match):
            continue
        checked += 1
        if checked > MAX_CHECKED:
            yield Found(*match.span(), "phone")
            continue
        yield from _numbers_in(written, match.start(), regions, cue)


def _may_be_any_number(written: str) -> bool:
    """Whether it is plain digits, or in groups of three like an amount, without the zero of a national number."""
    return not written.startswith(("+", "(", "0")) and (written.isdecimal() or _GROUPED.fullmatch(written) is not None)


def _is_a_line(text: str, match: re.Match[str]) -> bool:
    """Whether there is nothing else on the line, as in the head of a CV."""
    before, after = text[: match.start()].rpartition("\n")[2], text[match.end() :].partition("\n")[0]
    return "\n" in text and not before.strip() and not after.strip()


def _is_other(text: str, match: re.Match[str]) -> bool:
    """Whether it is a date, an amount of money, or an id that is named as such."""
    written, before = match.group(), text[max(0, match.start() - 40) : match.start()]
    return bool(
        _DATE.fullmatch(written)
        or _YEARS.fullmatch(written)
        or _MONEY_BEFORE.search(before)
        or _MONEY_AFTER.match(text, match.end())
        or _OTHER_NUMBER.search(before)
    )


def _numbers_in(written: str, start: int, regions: Sequence[str], cue: bool) -> Iterator[Found]:
    from phonenumbers import Leniency, PhoneNumberMatcher  # loads the table of all countries

    for region in regions or (None,):
        numbers = list(PhoneNumberMatcher(written, region, Leniency.VALID))
        if numbers:
            yield from (Found(start + number.start, start + number.end, "phone") for number in numbers)
            return
    if cue:
        for region in regions:
            for number in PhoneNumberMatcher(written, region, Leniency.POSSIBLE):
                yield Found(start + number.start, start + number.end, "phone")
                return
