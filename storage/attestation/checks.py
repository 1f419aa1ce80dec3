"""Checks of a record that need public keys and an artifact store only: signatures, subjects, chain.

``streams.attestation.verify`` adds those that need the gates. Each check passes, fails, or says why it could not be made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from storage.artifacts import Artifacts
from storage.attestation.envelope import Record, stored_record
from storage.attestation.keys import PublicKey
from storage.attestation.model_signature import adapter_objection
from storage.attestation.statement import Statement, SubjectName, properties_of
from storage.errors import ArtifactError, AttestationError

Outcome = Literal["passed", "failed", "not checked"]
ALWAYS: tuple[SubjectName, ...] = ("adapter", "snapshot", "report", "code")
IN_STORE: tuple[SubjectName, ...] = ("adapter", "snapshot", "report", "settings", "code")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what, whether it holds, and in words why not."""

    what: str
    outcome: Outcome
    words: str


def signature_checks(record: Record, statement: Statement, trusted: Mapping[str, PublicKey]) -> Iterator[Check]:
    """Each expected signer has signed, with a trusted key for its role, and nobody else has."""
    expected = {signer.keyid: signer.role for signer in statement.evidence.signers}
    if "service" not in expected.values():
        yield Check("signatures", "failed", "the service is not among the signers")
    for keyid, role in expected.items():
        yield _signature_check(record, keyid, role, trusted.get(keyid))
    for keyid in record.signatures.keys() - expected.keys():
        yield Check(f"signature {keyid[:12]}…", "failed", "the statement does not name this signer")


def _signature_check(record: Record, keyid: str, role: str, key: PublicKey | None) -> Check:
    what = f"signature of the {role}, key {keyid[:12]}…"
    if keyid not in record.signatures:
        return Check(what, "failed", "it is missing")
    if key is None:
        return Check(what, "failed", "the key is not trusted: add its public key to [attestation] trusted, or pass it with --keys")
    if key.role != role:
        return Check(what, "failed", f"the key is trusted as a {key.role}'s only")
    if not record.signed_by(key):
        return Check(what, "failed", "the signature does not belong to this statement")
    return Check(what, "passed", "valid")


def statement_checks(statement: Statement) -> Iterator[Check]:
    """The statement agrees with itself."""
    evidence = statement.evidence
    missing = [name for name in ALWAYS if statement.digest(name) is None]
    if missing:
        yield Check("statement", "failed", f"subjects are missing: {', '.join(missing)}")
    if evidence.base.sha256 != statement.digest("base"):
        yield Check("statement", "failed", "the base model's digest is not that of the subject")
    if properties_of(evidence.gates, evidence.duel) != statement.predicate.properties:
        yield Check("statement", "failed", "the listed properties are not those of the gates and the duel")
    if not missing:
        yield Check("statement", "passed", f"a promotion of {evidence.version}")


def subject_checks(statement: Statement, artifacts: Artifacts, base: str | None) -> Iterator[Check]:
    """Every subject's content has its digest.

    Parameters
    ----------
    base : hash of the base model at hand, to compare; None to skip that
    """
    for subject in statement.subject:
        if subject.name in IN_STORE:
            yield _stored(subject.name, subject.digest.sha256, artifacts)
    yield base_check(statement, base)
    signed = statement.evidence.model_signature
    policy = statement.digest("adapter") or ""
    try:
        objection = adapter_objection(artifacts, policy, signed)
    except ArtifactError as error:
        objection = str(error)
    yield Check("adapter's signature (OpenSSF Model Signing)", "failed" if objection else "passed", objection or "valid")


def base_check(statement: Statement, base: str | None) -> Check:
    """The base model at hand is the one that was judged."""
    recorded = statement.evidence.base
    if recorded.sha256 is None:
        return Check("base", "not checked", f"{recorded.name} is a Hugging Face id, whose files were not hashed")
    if base is None:
        return Check("base", "not checked", f"no base model to compare with {recorded.name}; pass --model")
    if base != recorded.sha256:
        return Check("base", "failed", f"the base model's files changed: {base[:12]}… instead of {recorded.sha256[:12]}… ({recorded.name})")
    return Check("base", "passed", f"{recorded.name}, {base[:12]}…")


def chain_checks(statement: Statement, artifacts: Artifacts, trusted: Mapping[str, PublicKey]) -> Iterator[Check]:
    """The records of the champions before, down to the first, are there, signed, and about the champion that the next one names."""
    seen: set[str] = set()
    length = 0
    while (previous := statement.evidence.previous) is not None:
        what = f"chain: record {previous[:12]}…"
        if previous in seen:
            yield Check(what, "failed", "the chain runs in a circle")
            return
        seen.add(previous)
        champion = statement.evidence.champion
        try:
            record = stored_record(artifacts, previous)
            statement = record.statement()
        except AttestationError as error:
            yield Check(what, "failed", str(error))
            return
        failed = [check for check in signature_checks(record, statement, trusted) if check.outcome == "failed"]
        for check in failed:
            yield Check(f"{what}: {check.what}", "failed", check.words)
        if statement.evidence.version != champion:
            yield Check(what, "failed", f"it is about {statement.evidence.version}, but the champion before was {champion}")
        if failed or statement.evidence.version != champion:
            return
        length += 1
    first = statement.evidence
    unattested = "" if first.champion == "base" else f"; {first.champion} before it is not attested"
    yield Check("chain", "passed", f"{length} records before this one, the first is about {first.version}{unattested}")


def _stored(name: str, sha: str, artifacts: Artifacts) -> Check:
    try:
        artifacts.get(sha)
    except ArtifactError as error:
        return Check(name, "failed", str(error))
    return Check(name, "passed", f"{sha[:12]}…")
