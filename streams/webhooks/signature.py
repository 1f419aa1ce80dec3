"""Signatures of webhooks by the Standard Webhooks specification: HMAC-SHA256 over id, timestamp and body, version ``v1``."""

import base64
import binascii
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)  # by the specification


def keys_of(secret: SecretStr) -> tuple[bytes, ...]:
    """The signing keys in a setting: one secret, or several separated by spaces.

    Raises
    ------
    ValueError
        One of them is not ``whsec_`` with 24 to 64 bytes in base64. The message does not quote it.
    """
    keys = tuple(map(_key, secret.get_secret_value().split()))
    if not keys:
        raise ValueError("empty")
    return keys


def _key(secret: str) -> bytes:
    text = secret.removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise ValueError(f"not {PREFIX} followed by {KEY_BYTES[0]} to {KEY_BYTES[-1]} bytes in base64")
    return key


def signed_headers(keys: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt to deliver ``body``; ``timestamp`` is the time of the attempt in seconds since 1970."""
    content = f"{webhook_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
