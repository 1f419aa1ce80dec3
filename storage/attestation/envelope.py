"""The envelope around a statement: DSSE (Dead Simple Signing Envelope), with one Ed25519 signature for each signer.

securesystemslib encodes and signs; parsing is strict, so that an envelope has exactly one form and every changed byte is noticed.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.artifacts import Artifacts
from storage.attestation.keys import PublicKey, SigningKey
from storage.attestation.statement import Statement, canonical, read_statement
from storage.errors import ArtifactError, AttestationError
from storage.events import Sha256, problems

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer._key import SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class _Signature(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keyid: Sha256
    sig: str


class _Envelope(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    payload: str
    payloadType: str
    signatures: Annotated[tuple[_Signature, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Record:
    """A promotion's record: the envelope's content. ``signatures`` are by key id."""

    raw: bytes
    payload: bytes
    payload_type: str
    signatures: Mapping[str, bytes]

    @property
    def sha(self) -> str:
        """The name of the record's artifact."""
        return hashlib.sha256(self.raw).hexdigest()

    def statement(self) -> Statement:
        """The statement inside; raises :class:`AttestationError` if it is none of a promotion."""
        if self.payload_type != PAYLOAD_TYPE:
            raise AttestationError(f"payload type: {self.payload_type!r} instead of {PAYLOAD_TYPE!r}")
        return read_statement(self.payload)

    def signed_by(self, key: PublicKey) -> bool:
        """Whether ``key`` has made the signature that names it."""
        from securesystemslib.exceptions import UnverifiedSignatureError
        from securesystemslib.signer._signature import Signature

        signature = Signature(key.keyid, self.signatures.get(key.keyid, b"").hex())
        try:
            _library_key(key).verify_signature(signature, _library_envelope(self.payload, self.payload_type).pae())
        except UnverifiedSignatureError:
            return False
        return True


def sign(statement: Statement, keys: Iterable[SigningKey]) -> bytes:
    """The record's bytes. Ed25519 is deterministic (RFC 8032): the same statement and keys give the same record."""
    from securesystemslib.signer._crypto_signer import CryptoSigner

    envelope = _library_envelope(statement.as_bytes(), PAYLOAD_TYPE)
    for key in keys:
        envelope.sign(CryptoSigner(key.private, _library_key(key.public)))
    return canonical(envelope.to_dict())


def read_record(raw: bytes) -> Record:
    """Parse a record, without verifying its signatures.

    Raises
    ------
    AttestationError
        It is not a DSSE envelope in canonical form.
    """
    try:
        envelope = _Envelope.model_validate_json(raw)
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = {one.keyid: base64.b64decode(one.sig, validate=True) for one in envelope.signatures}
    except ValidationError as error:
        raise AttestationError(f"envelope: {problems(error.errors(include_input=False))}") from error
    except binascii.Error as error:
        raise AttestationError(f"envelope: not base64: {error}") from error
    if len(signatures) != len(envelope.signatures):
        raise AttestationError("envelope: a key has more than one signature")
    same = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": envelope.payloadType,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(sig).decode()} for keyid, sig in signatures.items()],
    }
    if canonical(same) != raw:
        raise AttestationError("envelope: not in canonical form (RFC 8785, base64 with padding); it was not written by this program")
    return Record(raw, payload, envelope.payloadType, signatures)


def stored_record(artifacts: Artifacts, sha: str) -> Record:
    """The record with this hash from the store.

    Raises
    ------
    AttestationError
        It is missing, altered or not a record.
    """
    try:
        raw = artifacts.read(sha)
    except ArtifactError as error:
        raise AttestationError(f"record: {error}") from error
    return read_record(raw)


def _library_envelope(payload: bytes, payload_type: str) -> "Envelope":
    from securesystemslib.dsse import Envelope

    return Envelope(payload, payload_type, {})


def _library_key(key: PublicKey) -> "SSlibKey":
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer._key import SSlibKey  # the package does not export its names to type checkers

    return SSlibKey.from_crypto(load_pem_public_key(key.pem), keyid=key.keyid)
