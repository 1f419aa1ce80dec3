"""Makes the signed record of a promotion, in the hub, before the promotion is published.

The record is a function of the log, the artifacts, the keys and the code: a hub that is killed between storing a record and publishing its
event makes the same record again. A record that would not verify is not made, and the version stays approved.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from uuid import UUID

from storage.artifacts import Artifacts
from storage.attestation.envelope import sign
from storage.attestation.keys import Keys, SigningKey
from storage.attestation.model_signature import sign_adapter
from storage.attestation.settings import AttestationSettings
from storage.attestation.statement import (
    Base,
    Digest,
    Evidence,
    GatePolicy,
    Predicate,
    Signer,
    Statement,
    Subject,
    SubjectName,
    Verifier,
    properties_of,
)
from storage.errors import ArtifactError, AttestationError
from storage.events import ModelPromoted
from streams.attestation.code_version import code_listing
from streams.attestation.duels import duel_results
from streams.attestation.gates import gate_policy, read_judged
from streams.attestation.history import record_of
from streams.attestation.verify import verify
from streams.runs import Run
from streams.versions import Versions
from trainers.runs.frozen import FIRST_REQUIRED, read_frozen

log = logging.getLogger(__name__)


class Attestor:
    """Signs promotions with this installation's keys, which it reads for each record.

    Attributes
    ----------
    problem : why a promotion cannot be attested, or why none could be; None if all is well
    """

    def __init__(self, artifacts: Artifacts, home: Path, settings: AttestationSettings) -> None:
        self._artifacts, self._home, self._settings = artifacts, home, settings
        self.keys = Keys(home, settings)
        self.problem: str | None = None

    def prepare(self) -> None:
        """Generate the keys at the first start, and publish the public ones in the artifact store."""
        try:
            self.keys.generate()
            for key in self.keys.published():
                self._artifacts.put_bytes(key.pem)
        except AttestationError as error:
            self._report(str(error))
        else:
            self._check_keys()

    def next_promotion(self, due: Iterable[ModelPromoted], versions: Versions, runs: Mapping[UUID, Run]) -> ModelPromoted | None:
        """The first of the promotions due that can be attested, with its record's hash; None if there is none, and ``problem`` says why.

        Without ``[attestation] required`` a promotion that cannot be attested is returned as it is.
        """
        problem = None
        for promotion in due:
            try:
                run = runs[versions.versions[promotion.version].evaluated.run_id]
                attested = promotion.model_copy(update={"record": self._record(promotion, versions, run)})
            except (AttestationError, ArtifactError) as error:
                problem = f"{promotion.version} is approved and cannot be promoted: {error}"
                self._report(problem)
                if self._settings.required:
                    continue
                return promotion
            self._report(None)
            return attested
        if problem is None:
            self._check_keys()
        return None

    def _check_keys(self) -> None:
        try:
            self.keys.signing()
        except AttestationError as error:
            self._report(f"no version can be promoted: {error}")
        else:
            self._report(None)

    def _record(self, promotion: ModelPromoted, versions: Versions, run: Run) -> str:
        """Store the record and return its hash."""
        signing = self.keys.signing()
        statement = self._statement(promotion, versions, run, signing)
        raw = sign(statement, signing)
        found = verify(raw, self._artifacts, {key.public.keyid: key.public for key in signing} | self.keys.trusted())
        if not found.ok:
            raise AttestationError("; ".join(f"{check.what}: {check.words}" for check in found.failures))
        return self._artifacts.put_bytes(raw)

    def _statement(self, promotion: ModelPromoted, versions: Versions, run: Run, signing: tuple[SigningKey, ...]) -> Statement:
        version = versions.versions[promotion.version]
        event, duel = version.evaluated, duel_results(version, self._artifacts)
        if run.request is None or run.frozen is None:
            raise AttestationError(f"the run of {event.version} is not on the log")
        settings = None if run.request.settings is None else read_frozen(self._artifacts, run.request.settings)
        required = FIRST_REQUIRED if settings is None else settings.required
        judged = read_judged(self._artifacts, event.report)
        base = Base(name=base_name(judged.base), sha256=judged.lineage.base_hash)
        subjects: dict[SubjectName, str | None] = {
            "adapter": event.policy,
            "base": base.sha256,
            "snapshot": run.frozen.snapshot,
            "report": event.report,
            "settings": run.request.settings,
            "code": self._artifacts.put_bytes(code_listing()),
        }
        evidence = Evidence(
            version=event.version,
            promotion=promotion.event_id,
            evaluation=event.event_id,
            review=promotion.review,
            run_id=event.run_id,
            method=run.request.method,
            champion=event.champion,
            champion_policy=run.frozen.champion_policy,
            through_sequence=run.request.through_sequence,
            sources=run.request.sources,
            base=base,
            gates=event.gates,
            required=required,
            duel=duel,
            model_signature=sign_adapter(self._artifacts, event.policy, self.keys.model, self._home),
            signers=tuple(Signer(role=key.role, keyid=key.public.keyid) for key in signing),
            previous=record_of(versions, versions.champion),
        )
        sections = judged.settings if settings is None else settings.sections
        policy = GatePolicy(digest=Digest(sha256=gate_policy(required, sections)))
        return Statement(
            subject=tuple(Subject(name=name, digest=Digest(sha256=sha)) for name, sha in subjects.items() if sha is not None),
            predicate=Predicate(
                verifier=Verifier(policy=policy),
                time_created=promotion.occurred_at,
                properties=properties_of(event.gates, duel),
                evidence=evidence,
            ),
        )

    def _report(self, problem: str | None) -> None:
        if problem not in (None, self.problem):  # once, not on every retry
            log.error("%s", problem)
        self.problem = problem


def base_name(ref: str) -> str:
    """The base model's name for a record that others read: a folder's own name, not its path; an id as it is."""
    return Path(ref).name if Path(ref).is_absolute() else ref
