"""The text of a token that this service makes: a prefix, what the token says, and the proof of it."""

import base64


def token_text(prefix: str, claims: bytes, proof: bytes) -> str:
    """``prefix``, and both in base64 for URLs with a dot between."""
    return f"{prefix}{_text(claims)}.{_text(proof)}"


def parts_of(prefix: str, text: str) -> tuple[bytes, bytes]:
    """Claims and proof in the text of a token; raises ValueError if it is none."""
    claims, _, proof = text.removeprefix(prefix).partition(".")
    return _bytes(claims), _bytes(proof)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
