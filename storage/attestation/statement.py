"""The statement of a promotion: an in-toto Statement v1 with the predicate Simple Verification Result v0.1.

The predicate says who verified what and when, and lists the properties that hold. The evidence (each gate's figure, interval, sample size
and limit, the champion before, the record before) is an extension field under its own URI, as in-toto's parsing rules allow. The bytes are
those of RFC 8785 (JSON Canonicalization Scheme), so that one promotion has one statement.

in-toto Attestation Framework, spec/v1 and spec/predicates/svr.md.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.attestation.keys import Role
from storage.errors import AttestationError
from storage.events import Finite, GateResult, Identifier, Moment, Name, Sha256, Source, problems

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/svr/v0.1"
VERIFIER = "urn:feedbackloop:promotion-gates:v1"
EVIDENCE = "urn:feedbackloop:promotion:v1"

SubjectName = Literal["adapter", "base", "snapshot", "report", "settings", "code"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class Digest(_Part):
    sha256: Sha256


class Subject(_Part):
    """What the statement is about, by content."""

    name: SubjectName
    digest: Digest


class GatePolicy(_Part):
    """The gates that were required, with their limits and sample sizes, by the hash of :func:`gate_policy`'s bytes."""

    name: Literal["required gates, limits, evaluation settings"] = "required gates, limits, evaluation settings"
    digest: Digest


class Verifier(_Part):
    id: Literal["urn:feedbackloop:promotion-gates:v1"] = "urn:feedbackloop:promotion-gates:v1"
    policy: GatePolicy


class Signer(_Part):
    """Who signs the envelope: a record from which a signature was removed is recognised."""

    role: Role
    keyid: Sha256


class Base(_Part):
    """The base model; ``sha256`` is None for a Hugging Face id, whose files are not hashed."""

    name: str
    sha256: Sha256 | None


class ModelSignature(_Part):
    """The adapter's signature in the OpenSSF Model Signing format, and the public key for it; both are artifacts."""

    signature: Sha256
    key: Sha256


class DuelResult(_Part):
    """What the duel, or the canary after it, decided; ``evidence`` is the artifact with its judgments.

    ``win_rate`` and its bounds are those of the duel, over the judgments that count.
    """

    stage: Literal["duel", "canary"]
    outcome: Literal["better", "futile", "harm", "expired"]
    through_sequence: Annotated[int, Field(ge=0)]
    judgments: Annotated[int, Field(ge=0)]
    recruiters: Annotated[int, Field(ge=0)]
    win_rate: Finite | None
    low: Finite
    high: Finite
    evidence: Sha256


class Evidence(_Part):
    """What the promotion rests on.

    Attributes
    ----------
    version : the promoted version
    promotion, evaluation, review, run_id : the ids of its events and its run on the log
    method : the training method
    champion, champion_policy : what it was judged against
    through_sequence, sources : which judgments its snapshot holds
    base : the base model
    gates : every gate's figure, interval, sample size, limit and verdict
    required : the gates that it had to pass
    duel : what recruiters' judgments decided after the approval; empty where the run's settings ask for no duel
    model_signature : of the adapter
    signers : who signs the envelope
    previous : hash of the record of the champion before; None for the first record
    """

    version: Name
    promotion: UUID
    evaluation: UUID
    review: UUID
    run_id: UUID
    method: Identifier
    champion: Name
    champion_policy: Sha256 | None
    through_sequence: Annotated[int, Field(ge=0)]
    sources: tuple[Source, ...]
    base: Base
    gates: Annotated[tuple[GateResult, ...], Field(min_length=1)]
    required: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    duel: tuple[DuelResult, ...]
    model_signature: ModelSignature
    signers: Annotated[tuple[Signer, ...], Field(min_length=1)]
    previous: Sha256 | None


class Predicate(_Part):
    """Simple Verification Result v0.1, with the evidence as an extension field."""

    verifier: Verifier
    time_created: Moment = Field(alias="timeCreated")
    properties: tuple[str, ...]
    evidence: Evidence = Field(alias="urn:feedbackloop:promotion:v1")


class Statement(_Part):
    """in-toto Statement v1."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field("https://in-toto.io/Statement/v1", alias="_type")
    subject: Annotated[tuple[Subject, ...], Field(min_length=1)]
    predicate_type: Literal["https://in-toto.io/attestation/svr/v0.1"] = Field(
        "https://in-toto.io/attestation/svr/v0.1", alias="predicateType"
    )
    predicate: Predicate

    @property
    def evidence(self) -> Evidence:
        return self.predicate.evidence

    def digest(self, name: SubjectName) -> str | None:
        """The digest of the subject with this name; None if there is no such subject."""
        return next((subject.digest.sha256 for subject in self.subject if subject.name == name), None)

    def as_bytes(self) -> bytes:
        """The statement in RFC 8785's form: the same statement gives the same bytes."""
        return canonical(self.model_dump(mode="json"))


def canonical(value: Any) -> bytes:
    """JSON in the form of RFC 8785."""
    import rfc8785

    return rfc8785.dumps(value)


def properties_of(gates: tuple[GateResult, ...], duel: tuple[DuelResult, ...]) -> tuple[str, ...]:
    """The properties that hold: each passed gate, the review, and a duel and canary that were won."""
    passed = [f"FEEDBACKLOOP_GATE_{gate.name.upper()}" for gate in gates if gate.verdict == "passed"]
    won = [f"FEEDBACKLOOP_{result.stage.upper()}_WON" for result in duel if result.outcome == "better"]
    return (*passed, "FEEDBACKLOOP_REVIEW_APPROVED", *won)


def read_statement(payload: bytes) -> Statement:
    """Parse the payload of an envelope.

    Raises
    ------
    AttestationError
        It is not a promotion's statement, has unknown fields, or is not in canonical form.
    """
    try:
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        raise AttestationError(f"statement: {problems(error.errors(include_input=False))}") from error
    if statement.as_bytes() != payload:
        raise AttestationError("statement: not in the canonical form of RFC 8785; it was not written by this program")
    names = [subject.name for subject in statement.subject]
    if len(set(names)) != len(names):
        raise AttestationError(f"statement: subjects are listed more than once: {', '.join(sorted(names))}")
    return statement
