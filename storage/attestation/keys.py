"""Keys that sign and verify promotion records: PEM files, read when they are needed and never kept, logged or sent anywhere.

The service's own keys lie in ``keys`` in the home directory: ``service.pem`` (Ed25519) signs records, ``model.pem`` (ECDSA on P-256, which
OpenSSF Model Signing requires) signs adapters. A key's id is the SHA-256 of its public PEM, which is also the public key's artifact.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from storage.attestation.settings import AttestationSettings
from storage.errors import AttestationError
from storage.home import GROUP_AND_OTHERS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOLDER, SERVICE, MODEL = "keys", "service.pem", "model.pem"

Role = Literal["service", "reviewer"]


@dataclass(frozen=True)
class PublicKey:
    """A public Ed25519 key, its PEM and what its owner may sign as."""

    role: Role
    pem: bytes

    @property
    def keyid(self) -> str:
        return hashlib.sha256(self.pem).hexdigest()


@dataclass(frozen=True)
class SigningKey:
    """A private key that was just read; its representation does not show it."""

    role: Role
    private: "Ed25519PrivateKey"

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.role, public_pem(self.private))

    def __repr__(self) -> str:
        return f"SigningKey({self.role}, {self.public.keyid[:12]}…)"


@dataclass(frozen=True)
class Keys:
    """The places of an installation's keys."""

    home: Path
    settings: AttestationSettings

    @property
    def service(self) -> Path:
        return self.settings.key or self.home / FOLDER / SERVICE

    @property
    def model(self) -> Path:
        """The private key for adapters."""
        return self.home / FOLDER / MODEL

    def generate(self) -> None:
        """Create the installation's own keys at its first start. A no-op afterwards, also if a key was removed since."""
        folder = self.home / FOLDER
        if folder.exists():
            return
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519

        self.home.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=self.home, prefix=".keys-"))  # mode 0700
        try:
            for name, key in ((SERVICE, ed25519.Ed25519PrivateKey.generate()), (MODEL, ec.generate_private_key(ec.SECP256R1()))):
                _write(fresh / name, private_pem(key))
                _write(fresh / f"{name}.pub", public_pem(key))
            fresh.rename(folder)  # atomic: both keys or none
        except OSError as error:
            if not folder.exists():  # else another process was faster
                raise AttestationError(f"{folder}: {error.strerror}; make the home directory writable") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def signing(self) -> tuple[SigningKey, ...]:
        """The keys that sign a record, the service's first.

        Raises
        ------
        AttestationError
            A key is missing, cannot be read, is not Ed25519, or others may read it.
        """
        own = SigningKey("service", read_ed25519(self.service))
        reviewer = self.settings.reviewer_key
        return (own,) if reviewer is None else (own, SigningKey("reviewer", read_ed25519(reviewer)))

    def trusted(self) -> dict[str, PublicKey]:
        """The public keys that may have signed records, by key id: the configured ones, and this installation's own where it has any.

        Raises
        ------
        AttestationError
            A configured public key cannot be read.
        """
        own = [PublicKey(role, pem) for role, path in self._own() if (pem := _own_public(path)) is not None]
        listed = [
            PublicKey(role, read_public(path))
            for role, paths in self._listed()
            for path in paths
        ]  # fmt: skip
        return {key.keyid: key for key in (*own, *listed)}

    def published(self) -> list[PublicKey]:
        """This installation's own public keys, for others to trust."""
        return [PublicKey(role, pem) for role, path in self._own() if (pem := _own_public(path)) is not None]

    def _own(self) -> list[tuple[Role, Path]]:
        reviewer: list[tuple[Role, Path]] = [] if self.settings.reviewer_key is None else [("reviewer", self.settings.reviewer_key)]
        return [("service", self.service), *reviewer]

    def _listed(self) -> list[tuple[Role, tuple[Path, ...]]]:
        return [("service", self.settings.trusted), ("reviewer", self.settings.trusted_reviewers)]


def public_keys(paths: Iterable[Path], role: Role = "service") -> dict[str, PublicKey]:
    """Read public keys from PEM files, by key id; raises :class:`AttestationError` for one that cannot be read."""
    keys = [PublicKey(role, read_public(path)) for path in paths]
    return {key.keyid: key for key in keys}


def read_ed25519(path: Path) -> "Ed25519PrivateKey":
    """The private Ed25519 key in the file; see :func:`read_private`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = read_private(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise AttestationError(f"signing key {path}: not an Ed25519 key; make one with 'openssl genpkey -algorithm ed25519'")
    return key


def read_private(path: Path) -> Any:
    """The private key in the PEM file.

    Raises
    ------
    AttestationError
        The file is missing, cannot be read, or is not an unencrypted PEM key; or its group or others have any permission on it.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & GROUP_AND_OTHERS:
            raise AttestationError(f"signing key {path}: its mode is {mode:04o}, so others may use it; run 'chmod 600' on it")
        return load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise AttestationError(f"signing key {path}: {error.strerror}; restore it, or set [attestation] key to another one") from error
    except (ValueError, TypeError) as error:  # the parser's message may quote the file
        raise AttestationError(f"signing key {path}: not a private key in unencrypted PEM") from error


def read_public(path: Path) -> bytes:
    """The PEM of the public Ed25519 key in the file, in the one form that key ids are computed from."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise AttestationError(f"public key {path}: {error.strerror}; correct the path") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AttestationError(f"public key {path}: not a public key in PEM; GET /v1/keys of the hub has its key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise AttestationError(f"public key {path}: not an Ed25519 key; GET /v1/keys of the hub has its key")
    return _public_bytes(key)


def public_pem(private: Any) -> bytes:
    """The public half of a private key as PEM."""
    return _public_bytes(private.public_key())


def private_pem(private: Any) -> bytes:
    """A private key as unencrypted PEM (PKCS #8)."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def _public_bytes(public: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def _own_public(path: Path) -> bytes | None:
    """The public half of an own key: from ``PATH.pub``, which any process of the home can read, or from the private key; None without."""
    beside = path.with_name(f"{path.name}.pub")
    try:
        return read_public(beside) if beside.exists() else public_pem(read_ed25519(path))
    except AttestationError:
        return None  # signing() says what is wrong with it; verification then lacks this key and says so


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
