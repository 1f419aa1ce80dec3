"""Names of people become pseudonyms at the door (``streams.intake``); this is the key to them and the one way to make one.

Without the key a pseudonym cannot be turned back by trying names; whoever holds it can find a person's events again, to show or erase them.
"""

import hashlib
import hmac
import os
import secrets
import unicodedata

from storage.errors import ConfigurationError
from storage.settings import Common


def pseudonym(key: bytes, role: str, name: str) -> str:
    """The role's first letter and 16 hex digits: ``r-…`` for a recruiter, ``c-…`` for a candidate; the same for the same name."""
    digest = hmac.new(key, f"{role}\x1f{unicodedata.normalize('NFC', name)}".encode(), hashlib.sha256).hexdigest()
    return f"{role[0]}-{digest[:16]}"


def pseudonym_key(common: Common) -> bytes:
    """The key of this installation: the settings' ``pseudonym_key``, else the file ``pseudonym.key`` in home, made when first needed."""
    if set_key := common.pseudonym_key.get_secret_value():
        return set_key.encode()
    path = common.home / "pseudonym.key"
    try:
        if not path.exists():
            common.home.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(fresh, path)  # whole, and never over the one that another process has just made
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}; make it readable or set FEEDBACKLOOP_PSEUDONYM_KEY") from error
    if len(key) < 32:
        raise ConfigurationError(f"{path}: {len(key)} bytes are no key; restore it, or remove it to start with new pseudonyms")
    return key
