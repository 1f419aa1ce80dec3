"""Postal addresses of people.

An employer's address is a fact that the chatbot has to state, and looks the same. So an address counts if the text says that somebody
lives there, or if it is complete, with its postal code, and no word before it tells of an office or an appointment.
"""

import re
from collections.abc import Iterator

from streams.privacy.found import Found, announced

_WORD = r"[^\W\d_a-zà-öø-ÿ][\w'’.-]{0,24}"  # begins with a capital letter
_NAME = r"[^\W\d_a-zà-öø-ÿ][\w'’-]{0,24}"  # of a town: a sentence may end after it
_STREETS = (
    # 221B Baker Street; 4500 N Elm Ave, Apt 3
    rf"\d{{1,5}}[A-Za-z]?(?:[-/]\d{{1,4}})?,? (?:{_WORD} ){{1,4}}?(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|"
    rf"Court|Ct|Place|Pl|"
    r"Square|Sq|Terrace|Way|Close|Crescent|Gardens|Grove|Mews|Parkway|Pkwy|Highway|Row|Walk|Circle|Cir|Trail)\b\.?"
    r"(?:,? (?:Apt|Apartment|Flat|Unit|Suite)\.? ?#?\w{1,6}| ?#\w{1,6})?",
    # Hauptstraße 12a; Kerkstraat 12
    rf"(?:{_WORD} ){{0,2}}(?:[^\W\d_]{{2,30}}(?:stra(?:ß|ss)e|str\.|weg|platz|allee|gasse|damm|ufer|chaussee|straat|laan|plein|"
    rf"gracht|kade)|Straße|Str\.|Weg|"
    r"Platz|Allee) \d{1,4} ?[a-z]?\b",
    # 12 bis, rue de la Paix
    rf"\d{{1,4}}(?: ?(?:bis|ter))?,? (?:rue|avenue|boulevard|place|chemin|impasse|allée|quai|cours|route) (?:(?:de la |de |du |"
    rf"des |la |le |les )|[dl]['’]|de l['’])?"
    rf"{_WORD}(?: {_WORD}){{0,3}}",
    # Calle Mayor 5; Via Roma, 10
    rf"(?:Calle|C/|Avenida|Avda\.?|Plaza|Paseo|Via|Viale|Piazza|Corso|Rua|Travessa) ?(?:(?:de|del|della|la|do|da|dos|"
    rf"di) ){{0,2}}{_WORD}(?: {_WORD}){{0,3}},? ?"
    r"(?:n\.?º? ?)?\d{1,4}\b",
)  # fmt: skip
_CODES = (
    r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b",  # SW1A 1AA
    r"[A-Z]{2} \d{5}(?:-\d{4})?\b",  # IL 62704
    rf"(?:[A-Z]{{1,2}}-)?\d{{5}} {_NAME}(?: {_NAME}){{0,2}}",  # 10115 Berlin
    rf"\d{{4}} ?[A-Z]{{2}} {_NAME}(?: {_NAME})?",  # 1012 AB Amsterdam
    rf"\d{{4}} {_NAME}",  # 8001 Zürich
)
_TOWN = rf"(?:{_NAME}(?: {_NAME}){{0,2}},? )?"
_ADDRESS = re.compile(rf"(?<!\w)(?P<street>{'|'.join(_STREETS)})(?P<town>,?\s{{1,2}}{_TOWN}(?:{'|'.join(_CODES)}))?")
_HOME = re.compile(
    r"\b(?:i|we|she|he|they)(?:'m|’m| am| are| is)? (?:\w+ )?(?:lives?|living|resides?|stay|staying|moved)\b|\b(?:my|her|his|home|"
    r"private|postal|mailing|"
    r"permanent|residential|current|candidate'?s?|applicant'?s?) (?:\w+ )?address\b|\b(?:living|residing|resident) (?:at|in)\b|"
    r"\bwohn(?:e|haft|t)\b|"
    r"\bmeine (?:adresse|anschrift)\b|\bhabite\b|\bmon adresse\b|\bvivo en\b|\bmi dirección\b|\babito (?:in|a)\b|\bik woon\b",
    re.I,
)
_OFFICE = re.compile(
    r"\b(?:our|office|offices|headquarters|hq|branch|site|clinic|hospital|store|shop|warehouse|interview\w*|meet|meeting|visit|"
    r"located|venue|location|"
    r"reception|campus|company|employer|studio|factory|plant|depot|school|hotel|appointment|assessment|place of work|workplace|"
    r"event|come to)\b",
    re.I,
)


def find_addresses(text: str) -> Iterator[Found]:
    """Postal addresses as ``address``."""
    for match in _ADDRESS.finditer(text):
        if announced(_HOME, text, match.start(), 80) or (match["town"] and not announced(_OFFICE, text, match.start(), 120)):
            yield Found(*match.span(), "address")
