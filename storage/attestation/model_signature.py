"""Signatures of adapters in the OpenSSF Model Signing format, by the library model-signing, offline with an EC key.

The format's key method takes ECDSA on NIST curves only, and an ECDSA signature is different each time. So an adapter's signature is made
once and kept in the home directory, and a restarted hub uses the same one. The library loads sigstore, so it is imported at promotions and
by ``attest verify`` only; serving never imports it.
"""

import tempfile
from pathlib import Path
from typing import Any

from storage.artifacts import Artifacts
from storage.attestation.keys import public_pem, read_private
from storage.attestation.statement import ModelSignature
from storage.errors import AttestationError

KEPT = "model-signatures"  # folder in the home directory


def sign_adapter(artifacts: Artifacts, policy: str, key: Path, home: Path) -> ModelSignature:
    """Sign the adapter with this hash, or take the signature that was made before; store it with the public key as artifacts.

    Raises
    ------
    AttestationError
        The key cannot be used, or the adapter cannot be signed.
    ArtifactError
        The adapter is not in the store, or was altered.
    """
    public = public_pem(read_private(key))
    adapter = artifacts.get(policy)
    key_sha = artifacts.put_bytes(public)
    kept = home / KEPT / f"{policy}.{key_sha[:16]}.sig"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".new-") as scratch:
            fresh = Path(scratch) / "model.sig"
            try:
                _library().signing.Config().use_elliptic_key_signer(private_key=key).sign(adapter, fresh)
            except (ValueError, OSError) as error:
                raise AttestationError(f"adapter {policy[:12]}… cannot be signed: {error}") from error
            fresh.replace(kept)
    return ModelSignature(signature=artifacts.put(kept), key=key_sha)


def adapter_objection(artifacts: Artifacts, policy: str, signed: ModelSignature) -> str | None:
    """The reason why the adapter's signature does not verify; None if it does.

    Raises
    ------
    ArtifactError
        Adapter, signature or key is not in the store, or was altered.
    """
    adapter, signature, key = artifacts.get(policy), artifacts.get(signed.signature), artifacts.get(signed.key)
    try:
        _library().verifying.Config().use_elliptic_key_verifier(public_key=key).verify(adapter, signature)
    except Exception as error:  # noqa: BLE001  # the library raises what its parsers raise
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def _library() -> Any:
    import model_signing

    return model_signing
