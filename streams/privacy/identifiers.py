"""Account, card and national identification numbers, by their formats and check digits (``python-stdnum``).

A format that other numbers share counts only after words that announce it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stdnum import luhn, verhoeff
from stdnum.be import nn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.ch import ssn as ahv
from stdnum.de import idnr
from stdnum.dk import cpr
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.ie import pps
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.se import personnummer
from stdnum.us import ssn

from streams.privacy.found import Found, announced
from trainers.audits.content.personal_data import is_iban

_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?!\w)", re.I)
_CARD = re.compile(r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-])")
_BRANDS = re.compile(r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}")
_OTHER = re.compile(r"\b(?:job|reference|ref|req|ticket|order|case|tracking|id)\b[^.\n]{0,15}$", re.I)


def find_identifiers(text: str) -> Iterator[Found]:
    """IBANs as ``iban``, payment cards as ``card``, national ids and passports as ``id``."""
    yield from _ibans(text)
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if _BRANDS.fullmatch(digits) and luhn.is_valid(digits) and not _OTHER.search(text[max(0, match.start() - 30) : match.start()]):
            yield Found(*match.span(), "card")
    for national in NATIONAL:
        for match in national.written.finditer(text):
            cue = national.cue is None or announced(national.cue, text, match.start(), 60)
            if cue and national.is_valid(match.group()):
                yield Found(*match.span(), "id")


def _ibans(text: str) -> Iterator[Found]:
    for match in _IBAN.finditer(text):
        written = match.group()
        while len(written) >= 15:
            if is_iban(re.sub(r"[ -]", "", written).upper()):
                yield Found(match.start(), match.start() + len(written), "iban")
                break
            shorter = re.sub(r"[ -]\w+$", "", written)  # the next word may have been taken for the last group
            if shorter == written:
                break
            written = shorter


@dataclass(frozen=True)
class National:
    """How a country writes an id, and ``cue``: what has to announce it, None if the format is distinctive."""

    name: str
    written: re.Pattern[str]
    is_valid: Callable[[str], bool]
    cue: re.Pattern[str] | None = None


def _cue(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{words})\b", re.I)


def _any(_: str) -> bool:
    return True


def _aadhaar(number: str) -> bool:
    return verhoeff.is_valid(re.sub(r"\D", "", number))


_TAX = r"tax (?:id|no|number|identification)\w*|steuer-?(?:id|identifikationsnummer|nummer)|idnr|tin"
_INSURANCE = re.compile(r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?\d\d){3} ?[A-D](?!\w)")
_PASSPORT = r"passport(?: (?:no|number|id))?|reisepass(?:nummer)?"
_LICENCE = r"driv(?:ing|er'?s) licen[cs]e (?:no|number)"
_SOCIAL = r"ssn|social (?:security|insurance)(?: (?:number|no))?|sin"
NATIONAL: tuple[National, ...] = (
    National("US social security", re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), ssn.is_valid),
    National("US social security, bare", re.compile(r"(?<![\w-])\d{3} ?\d{2} ?\d{4}(?![\w-])"), ssn.is_valid, _cue(_SOCIAL)),
    National("GB national insurance", _INSURANCE, _any),
    National("DE tax id, grouped", re.compile(r"(?<![\w-])\d{2} \d{3} \d{3} \d{3}(?![\w-])"), idnr.is_valid),
    National("DE tax id", re.compile(r"(?<![\w-])\d{11}(?![\w-])"), idnr.is_valid, _cue(_TAX)),
    National("FR social security", re.compile(r"(?<!\w)[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?!\w)"), nir.is_valid),
    National("ES DNI", re.compile(r"(?<!\w)\d{8}-?[A-HJ-NP-TV-Z](?!\w)"), dni.is_valid),
    National("ES NIE", re.compile(r"(?<!\w)[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z](?!\w)"), nie.is_valid),
    National("IT codice fiscale", re.compile(r"(?<!\w)[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?!\w)", re.I), codicefiscale.is_valid),
    National("NL BSN", re.compile(r"(?<![\w-])\d{9}(?![\w-])"), bsn.is_valid, _cue("bsn|burgerservicenummer|sofi")),
    National("PL PESEL", re.compile(r"(?<![\w-])\d{11}(?![\w-])"), pesel.is_valid, _cue("pesel")),
    National("SE personnummer", re.compile(r"(?<![\w-])(?:\d{2})?\d{6}[-+]\d{4}(?![\w-])"), personnummer.is_valid),
    National("FI henkilötunnus", re.compile(r"(?<!\w)\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y](?!\w)"), hetu.is_valid),
    National("DK CPR", re.compile(r"(?<![\w-])\d{6}-\d{4}(?![\w-])"), cpr.is_valid, _cue("cpr(?:-?nummer)?|personnummer")),
    National("BE national number", re.compile(r"(?<![\w-])\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}(?![\w-])"), nn.is_valid),
    National("CH AHV", re.compile(r"(?<![\w.])756\.\d{4}\.\d{4}\.\d{2}(?![\w.])"), ahv.is_valid),
    National("IE PPS", re.compile(r"(?<!\w)\d{7}[A-W][AH]?(?!\w)"), pps.is_valid, _cue("pps|ppsn")),
    National("BR CPF", re.compile(r"(?<![\w.])\d{3}\.\d{3}\.\d{3}-\d{2}(?!\w)"), cpf.is_valid),
    National("CA SIN", re.compile(r"(?<![\w-])\d{3}[ -]?\d{3}[ -]?\d{3}(?![\w-])"), sin.is_valid, _cue(_SOCIAL)),
    National("IN Aadhaar", re.compile(r"(?<![\w-])[2-9]\d{3} \d{4} \d{4}(?! ?\d)(?![\w-])"), _aadhaar),
    National("IN PAN", re.compile(r"(?<!\w)[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z](?!\w)"), _any, _cue("pan(?: card)?")),
    National("passport", re.compile(r"(?<!\w)(?=[A-Z0-9]{0,8}\d)[A-Z0-9]{6,9}(?!\w)"), _any, _cue(_PASSPORT)),
    National("driving licence", re.compile(r"(?<!\w)(?=[A-Z0-9]{0,15}\d)[A-Z0-9]{7,16}(?!\w)"), _any, _cue(_LICENCE)),
)  # fmt: skip
