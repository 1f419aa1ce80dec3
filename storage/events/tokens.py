"""How a sealed text or vector looks in an event: ``storage.texts`` seals and opens them, events only tell them from plain ones.

A token is ``U+0002``, ``t1`` for a text, ``v1`` for a vector or ``g1`` for a candidate's group, the id of the key, and base64 of nonce and
ciphertext.
"""

import re
from typing import Final

MARK: Final = "\x02"
TOKEN: Final = re.compile(r"\x02[tvg]1:[A-Za-z0-9_-]{16}:[A-Za-z0-9+/]+={0,2}")


def is_sealed(text: str) -> bool:
    """Whether the valid text or vector of an event is a token."""
    return text.startswith(MARK)


def checked_token(text: str) -> str:
    """The token; ``ValueError`` if it begins like one and is none."""
    if TOKEN.fullmatch(text) is None:
        raise ValueError("text begins with U+0002, which marks sealed texts")
    return text
