"""Ed25519 signatures of the service's key over short messages; promotion records have an envelope of their own (``envelope``)."""

from storage.attestation.keys import PublicKey, SigningKey


def signed(key: SigningKey, purpose: str, message: bytes) -> bytes:
    """The key's signature. ``purpose`` keeps one made for something else, such as a promotion record, from counting here."""
    return key.private.sign(_framed(purpose, message))


def is_signed(key: PublicKey, purpose: str, message: bytes, signature: bytes) -> bool:
    """Whether ``key`` has signed the message for this purpose."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key(key.pem)
    assert isinstance(public, Ed25519PublicKey)  # as storage.attestation.keys has checked
    try:
        public.verify(signature, _framed(purpose, message))
    except InvalidSignature:
        return False
    return True


def _framed(purpose: str, message: bytes) -> bytes:
    return b"feedbackloop\x00" + purpose.encode() + b"\x00" + message
