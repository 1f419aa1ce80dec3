"""Sealed texts: AES-256-GCM under a key that can be destroyed, so that one deletion reaches every copy of a text.

A token (``storage.events.tokens``) goes wherever the text would go: on the log, into rows, into Parquet. The nonce is a keyed hash of the
text (as in SIV, RFC 5297, section 1.3): a text that is sealed again under its key gives the same token, so that a repeated event stays the
same bytes. The key's id is authenticated, and so is the kind: a vector cannot be passed off as a text.
"""

import base64
import hmac
import secrets
from typing import Any, Final, Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ConfigDict, TypeAdapter, ValidationError

from storage.errors import TextLost
from storage.events.tokens import MARK

SECRET_BYTES: Final = 32
GROUP_BYTES: Final = 128  # a group is padded to a multiple of these, so that the length of its token does not say which it is
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_KID, _BODY = slice(4, 20), slice(21, None)
_base64: Any = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64")).validator.validate_strings  # five times as fast as base64's

Kind = Literal["t", "v", "g"]


class TextKey(NamedTuple):
    """A key and its random id, which stands in every token."""

    kid: str
    secret: bytes

    @classmethod
    def new(cls) -> "TextKey":
        return cls(secrets.token_urlsafe(12), secrets.token_bytes(SECRET_BYTES))

    def __repr__(self) -> str:
        return f"TextKey({self.kid!r}, …)"


class Cipher:
    """Seals and opens under one key."""

    def __init__(self, key: TextKey) -> None:
        self._kid, self._secret = key
        self._aes = AESGCM(hmac.digest(self._secret, b"seal", "sha256"))

    def seal(self, raw: bytes, kind: Kind) -> str:
        """The token of these bytes; the same for the same bytes."""
        nonce = hmac.digest(hmac.digest(self._secret, b"nonce", "sha256"), kind.encode() + raw, "sha256")[:NONCE_BYTES]
        body = base64.b64encode(nonce + self._aes.encrypt(nonce, raw, self._about(kind))).decode("ascii")
        return f"{MARK}{kind}1:{self._kid}:{body}"

    def open(self, token: str) -> bytes:
        """The bytes of a token of this key; ``TextLost`` if it was altered."""
        try:
            body: bytes = _base64(token[_BODY])
            return self._aes.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], self._about(token[1]))
        except (ValidationError, ValueError, InvalidTag) as error:
            raise TextLost(f"a text sealed under the key {token[_KID]} was altered: restore the log from a backup") from error

    def _about(self, kind: str) -> bytes:
        return f"{kind}1:{self._kid}".encode("ascii")


def kid_of(token: str) -> str:
    """The id of the key under which it is sealed."""
    return token[_KID]


def bytes_of(token: str) -> int:
    """How many bytes are sealed in the token; no key is needed."""
    return len(_base64(token[_BODY])) - NONCE_BYTES - TAG_BYTES


def group_bytes(attribute: str, group: str) -> bytes:
    """What is sealed of a candidate's group; with the attribute, so that equal answers to two questions do not look equal."""
    raw = group.encode()
    return attribute.encode() + b"\0" + raw + b" " * (-len(raw) % GROUP_BYTES)


def said_by(token: str, raw: bytes) -> str:
    """What the bytes of the token say: a text, a group, or a vector as base64."""
    if token[1] == "v":
        return base64.b64encode(raw).decode("ascii")
    if token[1] == "g":
        return raw.partition(b"\0")[2].decode("utf-8").rstrip(" ")
    return raw.decode("utf-8")
