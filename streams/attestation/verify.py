"""Verifies a record completely and offline: envelope, signatures, statement, subjects, gates, duel, chain."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from storage.artifacts import Artifacts
from storage.attestation.checks import Check, chain_checks, signature_checks, statement_checks, subject_checks
from storage.attestation.envelope import read_record
from storage.attestation.keys import PublicKey
from storage.errors import ArtifactError, AttestationError
from streams.attestation.duels import duel_checks
from streams.attestation.gates import gate_checks


@dataclass(frozen=True)
class Verification:
    """Every check that was made."""

    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def ok(self) -> bool:
        return not self.failures


def verify(raw: bytes, artifacts: Artifacts, trusted: Mapping[str, PublicKey], base: str | None = None) -> Verification:
    """Verify the record in ``raw``.

    Parameters
    ----------
    trusted : public keys that may have signed, by key id
    base : hash of the base model at hand (``trainers.runs.job.base_hash``); None to skip that comparison
    """
    return Verification(tuple(_checks(raw, artifacts, trusted, base)))


def _checks(raw: bytes, artifacts: Artifacts, trusted: Mapping[str, PublicKey], base: str | None) -> Iterator[Check]:
    try:
        record = read_record(raw)
    except AttestationError as error:
        yield Check("envelope", "failed", str(error))
        return
    yield Check("envelope", "passed", f"DSSE, record {record.sha[:12]}…")
    try:
        statement = record.statement()
    except AttestationError as error:
        yield Check("statement", "failed", str(error))
        return
    yield from signature_checks(record, statement, trusted)
    yield from statement_checks(statement)
    yield from subject_checks(statement, artifacts, base)
    try:
        yield from gate_checks(statement, artifacts)
    except ArtifactError as error:
        yield Check("gates", "failed", str(error))
    yield from duel_checks(statement, artifacts)
    yield from chain_checks(statement, artifacts, trusted)
