"""Checks of a record's gates: against the report, against the run's settings, and by applying the gates again to what was measured."""

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.artifacts import Artifacts
from storage.attestation.checks import Check
from storage.attestation.statement import Statement
from storage.errors import ArtifactError
from storage.events import GateResult
from streams.evaluations import Claims, RunArtifacts
from streams.versions import verdict_of
from trainers.audits.table import audits, gates_section
from trainers.runs.frozen import FIRST_REQUIRED, FrozenSettings

NO_AUDIT = "this program has no such audit with these limits; the report's own result stands"


class _Lineage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    base_hash: str | None = None


class Judged(BaseModel):
    """What a record repeats from a report, besides :class:`streams.evaluations.Claims`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base: str = "unknown"
    lineage: _Lineage = _Lineage()
    findings: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)


def read_judged(artifacts: Artifacts, sha: str) -> Judged:
    """Those fields of the report; raises :class:`ArtifactError` if it is not there or not a report."""
    try:
        return Judged.model_validate_json(artifacts.read(sha))
    except ValidationError as error:
        raise ArtifactError(f"report {sha[:12]}… is not an evaluation report: {error.errors()[0]['msg']}") from error


def gate_policy(required: tuple[str, ...], sections: dict[str, Any]) -> str:
    """SHA-256 of the required gates with the sections ``gates`` and ``evaluation`` of the run's settings, as JSON with sorted keys."""
    policy = {"required": list(required), "gates": sections.get("gates", {}), "evaluation": sections.get("evaluation", {})}
    return hashlib.sha256(orjson.dumps(policy, option=orjson.OPT_SORT_KEYS)).hexdigest()


def gate_checks(statement: Statement, artifacts: Artifacts) -> Iterator[Check]:
    """The gates in the record are those of the report, were required by the settings, have passed, and pass again."""
    run = RunArtifacts(artifacts)
    settings_sha = statement.digest("settings")
    settings = None if settings_sha is None else run.settings(settings_sha)
    claims = run.report(statement.digest("report") or "0" * 64)
    for found in (claims, settings):
        if isinstance(found, str):
            yield Check("gates", "failed", found)
    if isinstance(claims, str) or isinstance(settings, str):
        return
    judged = read_judged(artifacts, statement.digest("report") or "0" * 64)
    yield from _report_checks(statement, claims, judged)
    yield from _settings_checks(statement, claims, settings)
    sections = claims.settings if settings is None else settings.sections
    for gate in statement.evidence.gates:
        yield _applied_again(gate, judged.findings, sections)


def _report_checks(statement: Statement, claims: Claims, judged: Judged) -> Iterator[Check]:
    evidence = statement.evidence
    compared: dict[str, tuple[Any, Any]] = {
        "gates": (evidence.gates, claims.gates),
        "version": (evidence.version, claims.version),
        "run": (str(evidence.run_id), claims.run_id),
        "adapter": (statement.digest("adapter"), claims.policy),
        "champion": (evidence.champion, claims.champion),
        "champion's policy": (evidence.champion_policy, claims.champion_policy),
        "base model": (evidence.base.sha256, judged.lineage.base_hash),
    }
    differing = [name for name, (recorded, reported) in compared.items() if recorded != reported]
    words = f"the report disagrees on the {', the '.join(differing)}" if differing else f"{len(evidence.gates)} gates as in the report"
    yield Check("report", "failed" if differing else "passed", words)
    verdict = verdict_of(gate.verdict for gate in evidence.gates)
    agreed = verdict == claims.verdict == "passed"
    yield Check("verdict", "passed" if agreed else "failed", f"the gates say {verdict}, the report says {claims.verdict}")


def _settings_checks(statement: Statement, claims: Claims, settings: FrozenSettings | None) -> Iterator[Check]:
    evidence = statement.evidence
    required = FIRST_REQUIRED if settings is None else settings.required
    if settings is not None and settings.sections != claims.settings:
        yield Check("settings", "failed", "the report was made with other settings than the run was requested with")
    if evidence.required != required:
        yield Check("required gates", "failed", f"the run required {', '.join(required)}, the record says {', '.join(evidence.required)}")
    missing = set(required) - {gate.name for gate in evidence.gates}
    yield Check("required gates", "failed" if missing else "passed", f"missing: {', '.join(sorted(missing))}" if missing else "all there")
    policy = gate_policy(required, claims.settings if settings is None else settings.sections)
    same = policy == statement.predicate.verifier.policy.digest.sha256
    yield Check("gate policy", "passed" if same else "failed", f"{policy[:12]}…" if same else "its hash is not that of the run's settings")


def _applied_again(gate: GateResult, findings: dict[str, Any], sections: dict[str, Any]) -> Check:
    """Apply the gate to the report's finding with the run's limits; "not checked" where this program has no such audit any more."""
    what = f"gate {gate.name} applied again"
    audit = audits().get(gate.name)
    if audit is None or gate.name not in findings:
        return Check(what, "not checked", NO_AUDIT if audit is None else "the report has no finding for it")
    try:
        limits = gates_section().model_validate(sections.get("gates", {}))
        again = audit.gate(audit.finding.model_validate(findings[gate.name]), getattr(limits, gate.name))
    except ValidationError:
        return Check(what, "not checked", NO_AUDIT)
    if again != gate:
        return Check(what, "failed", f"the finding gives {again.verdict} ({again.words}), the record says {gate.verdict}")
    return Check(what, "passed", f"{gate.verdict}: {gate.limit}")
