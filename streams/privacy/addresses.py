"""Postal addresses of people.

An employer's address is a fact that the chatbot has to state, and looks the same. So an address counts if the text says that somebody
lives there, or if it is complete, with its postal code, and no word before it tells of an office or an appointment.
"""

import re
from collections.abc import Iterator

from streams.privacy.found import Found, announced

_NAME = r"[^\W\d_a-zà-öø-ÿ][\w'’-]{0,24}"  # begins with a capital letter
_NAMES = rf"{_NAME}(?: {_NAME}){{0,3}}"
_OF = r"(?:(?:de la|de los|de las|de|del|della|di|da|do|dos|du|des|la|le|les|van|von|der|den) |[dl]['’])?"
_NUMBER = r"\d{1,4}(?:[/-]\d{1,4})? ?[a-z]?\b"
_FLAT = r"(?:,? (?:Apt|Apartment|Flat|Unit|Suite)\.? ?#?\w{1,6}| ?#\w{1,6})?"
_FLOOR = r"(?: (?:Piso|Puerta|Appartamento|Etage|Apt\.?) \w{1,4})? ?"

# by country: how a street is written; two streets of English words differ in whether the last word is one for streets
_ENGLISH = (
    rf"\d{{1,5}}[A-Za-z]?(?:[-/]\d{{1,4}})?,? {_NAMES}? ?(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|"
    rf"Square|Sq|Terrace|Way|Close|Crescent|Gardens|Grove|Mews|Parkway|Pkwy|Highway|Row|Walk|Circle|Cir|Trail)\b\.?{_FLAT}"
)
_OTHER_ENGLISH = rf"(?:(?:Studio|Flat) \d{{1,4}}\w?,? |\d{{1,5}}[A-Za-z]?,? )(?:{_NAMES}\n?){_FLAT}"
_GERMAN = (
    rf"(?:{_NAME} ){{0,2}}(?:[^\W\d_]{{2,30}}-){{0,3}}[^\W\d_]{{0,30}}(?i:stra(?:ß|ss)e|str\.|weg|platz|allee|gasse|ring|damm|ufer|"
    rf"chaussee|straat|laan|plein|gracht|kade|gatan|vägen) {_NUMBER}"
)
_FRENCH = rf"(?:\d{{1,4}}(?: ?(?:bis|ter))?,? )(?:rue|avenue|boulevard|place|chemin|impasse|allée|quai|cours|route) {_OF}{_NAMES}"
_FRENCH_WITHOUT_NUMBER = rf"(?:rue|avenue|boulevard|chemin|impasse|allée|quai) {_OF}{_NAMES}"
_SOUTHERN = (
    rf"(?:Calle|C/|Avenida|Avda\.?|Plaza|Paseo|Via|Viale|Piazza|Corso|Rua|Travessa) ?{_OF}{_NAMES},? ?(?:n\.?º? ?)?{_NUMBER}{_FLOOR}"
)
_OTHER_CONTINENTAL = rf"(?:[^\W\d_]{{1,3}}\. )?{_NAME}(?:[ -]{_OF}{_NAME}){{0,3}},? {_NUMBER}{_FLOOR}"
_INDIAN = rf"(?:H\.? ?No\.? ?)?\d{{1,4}}(?:/\d{{1,4}})?, {_NAMES}"

_TOWN = rf"(?:{_NAME}(?: {_NAME}){{0,2}})"
_BRITISH_CODE = r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"
_AMERICAN_CODE = r"[A-Z]{2} \d{5}(?:-\d{4})?\b"
_CONTINENTAL_CODES = (
    rf"(?:[A-Z]{{1,2}}-)?\d{{5}},? {_TOWN}(?: \([A-Z]{{2}}\))?",  # 10115 Berlin
    rf"\d{{2}}-\d{{3}} {_TOWN}",  # 00-950 Warszawa
    rf"\d{{4}} ?[A-Z]{{2}},? {_TOWN}",  # 1012 AB Amsterdam
    rf"{_TOWN}, \d{{5}}\b",  # Cádiz, 26776
    rf"{_TOWN}[- ]\d{{6}}\b",  # Salem-636001
)
_ANY_CODE = rf"(?:{_TOWN},? )?(?:{_BRITISH_CODE}|{_AMERICAN_CODE})|{'|'.join(_CONTINENTAL_CODES)}|\d{{4}} {_TOWN}"

_ADDRESS = re.compile(rf"(?<!\w)(?:{_ENGLISH}|{_GERMAN}|{_FRENCH}|{_SOUTHERN})(?P<code>,?\s{{1,2}}(?:{_ANY_CODE}))?")
_COMPLETE = re.compile(
    rf"(?<![\w.,])(?:{_OTHER_ENGLISH},?\s{{1,2}}(?:{_TOWN},? )?(?:{_BRITISH_CODE}|{_AMERICAN_CODE})|"
    rf"(?:{_OTHER_CONTINENTAL}|{_FRENCH_WITHOUT_NUMBER}|{_INDIAN}),\s{{1,2}}(?:{'|'.join(_CONTINENTAL_CODES)}))"
)
# the words in capitals and numbers that follow "my address is"
_TOKEN = (
    rf"(?:\d[\w/-]{{0,7}}|{_NAME}(?:\.(?= \d))?|pl\.|ul\.|rue|avenue|boulevard|place|chemin|impasse|allée|quai|de|la|le|les|los|las|"
    r"del|della|di|da|do|dos|du|des|van|von|der|den|H\.No\.|[dl]['’]\w{1,24}|\([A-Z]{2}\))"
)
_TOLD = re.compile(
    r"(?i:\bmy (?:\w+ )?address(?: is| was)?|\b(?:home|private|postal|mailing|permanent|residential) address(?: is)?|"
    rf"\bI (?:live|reside) (?:at|in)) ?:?\s?(?P<run>{_TOKEN}(?: ?[,;]?\s{{1,2}}{_TOKEN}){{1,16}})(?!\w)"
)
_HOME = re.compile(
    r"\b(?:i|we|she|he|they)(?:'m|’m| am| are| is)? (?:\w+ )?(?:lives?|living|resides?|stay|staying|moved)\b|\b(?:my|her|his|home|private|"
    r"postal|mailing|permanent|residential|current|candidate'?s?|applicant'?s?) (?:\w+ )?address\b|"
    r"\b(?:living|residing|resident) (?:at|in)\b|\bwohn(?:e|haft|t)\b|\bmeine (?:adresse|anschrift)\b|\bhabite\b|\bmon adresse\b|"
    r"\bvivo en\b|\bmi dirección\b|\babito (?:in|a)\b|\bik woon\b",
    re.I,
)
_OFFICE = re.compile(
    r"\b(?:our|office|offices|headquarters|hq|branch|site|clinic|hospital|store|shop|warehouse|interview\w*|meet|meeting|visit|located|"
    r"venue|location|reception|campus|company|employer|factory|plant|depot|school|hotel|appointment|assessment|place of work|workplace|"
    r"event|come to)\b",
    re.I,
)


def find_addresses(text: str) -> Iterator[Found]:
    """Postal addresses as ``address``."""
    for match in _TOLD.finditer(text):
        if re.search(r"\d", match["run"]):
            yield Found(*match.span("run"), "address")
    for pattern in (_COMPLETE, _ADDRESS):
        for match in pattern.finditer(text):
            complete = pattern is _COMPLETE or match["code"]
            if announced(_HOME, text, match.start(), 80) or (complete and not announced(_OFFICE, text, match.start(), 120)):
                yield Found(*match.span(), "address")
