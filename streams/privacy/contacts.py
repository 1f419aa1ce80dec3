"""E-mail addresses, also with "(at)" for the sign, and the user info of URLs."""

import re
from collections.abc import Iterator

from streams.privacy.found import Found

# Lengths are bounded and a match starts at the beginning of a run, so that searching takes linear time.
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_SPELT = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64} ?[\[(]at[\])] ?[\w-]{1,63}(?: ?(?:[\[(]dot[\])]|\.) ?[\w-]{2,63}){1,4}", re.I)
_USER_INFO = re.compile(r"(?<=://)[^\s/@:]{1,100}:[^\s/@]{1,100}(?=@)")


def find_contacts(text: str) -> Iterator[Found]:
    """E-mail addresses as ``email``, a name and password in a URL as ``credentials``."""
    if "@" in text:
        credentials = [Found(*match.span(), "credentials") for match in _USER_INFO.finditer(text)]
        yield from credentials
        taken = {each.end for each in credentials}  # "password@host" is no address
        yield from (
            Found(*match.span(), "email") for match in _EMAIL.finditer(text) if match.start() + match.group().index("@") not in taken
        )
    yield from (Found(*match.span(), "email") for match in _SPELT.finditer(text))
