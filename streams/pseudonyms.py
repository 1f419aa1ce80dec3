"""Keyed pseudonyms for the names of people; ``streams.intake`` applies them before anything is stored.

Without the key a pseudonym cannot be reversed by guessing names. With the key a person's events can be found, to export or erase them.
"""

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from functools import lru_cache
from typing import Literal

from storage.errors import ConfigurationError, InputRefused
from storage.settings import Common

Role = Literal["recruiter", "candidate"]
# Invisible characters outside the categories Cf and Cc: grapheme joiner, Hangul fillers, variation selectors.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_RECRUITER = re.compile("r-[0-9a-f]{16}")
SHORTEST_KEY = 32  # characters
_LOOK_ALIKES = frozenset({"LATIN", "CYRILLIC", "GREEK"})  # scripts with many confusable letters


def is_recruiter(name: str) -> bool:
    """Whether this is a recruiter's pseudonym."""
    return _RECRUITER.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def pseudonym(key: bytes, role: Role, name: str) -> str:
    """The role's first letter and 16 hex digits of an HMAC-SHA256: ``r-…`` for a recruiter, ``c-…`` for a candidate; deterministic.

    Recruiters type their names, so these are normalised with :func:`folded`; a candidate's id comes from the product and is only
    normalised to NFC.

    Raises
    ------
    InputRefused
        A recruiter's name has no visible character, or a word that mixes scripts.
    """
    text = folded(name) if role == "recruiter" else unicodedata.normalize("NFC", name)
    digest = hmac.new(key, f"{role}\x1f{text}".encode(), hashlib.sha256).hexdigest()
    return f"{role[0]}-{digest[:16]}"


def folded(name: str) -> str:
    """Normalise a person's name: case, width, Unicode composition, spacing, invisible characters.

    A word that mixes Latin, Cyrillic or Greek letters is refused, because they look alike.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())  # casefolding may decompose (Unicode 3.13, D145)
    text = " ".join("".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc") and not _UNSEEN.match(c)).split())
    if not text:
        raise InputRefused("recruiter: the name has no visible character", "recruiter")
    for word in text.split():
        scripts = {unicodedata.name(c, "").split(" ")[0] for c in word} & _LOOK_ALIKES
        if len(scripts) > 1:
            mixed = " and ".join(sorted(script.title() for script in scripts))
            raise InputRefused(f"recruiter: {word!r} mixes {mixed} letters; write it in one script", "recruiter")
    return text


def pseudonym_key(common: Common) -> bytes:
    """The key of this installation: the setting ``pseudonym_key``, else the file ``pseudonym.key`` in home, created on first use."""
    if set_key := common.pseudonym_key.get_secret_value():
        if len(set_key) < SHORTEST_KEY:
            raise ConfigurationError(
                f"pseudonym_key: {len(set_key)} characters are too few, since whoever guesses it can reverse pseudonyms and make widget "
                f"tokens; set {SHORTEST_KEY} random ones or more"
            )
        return set_key.encode()
    path = common.home / "pseudonym.key"
    try:
        if not path.exists():
            common.home.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            try:
                with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                    file.write(secrets.token_hex(32))
                    file.flush()
                    os.fsync(file.fileno())
                os.link(fresh, path)  # atomic, and fails if another process has just created it
            except FileExistsError:
                pass
            finally:
                fresh.unlink(missing_ok=True)
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}; make it readable or set FEEDBACKLOOP_PSEUDONYM_KEY") from error
    if len(key) < SHORTEST_KEY:
        raise ConfigurationError(
            f"{path}: {len(key)} bytes are too few for a key; restore the file, or remove it to start with new pseudonyms"
        )
    return key
