"""The duel in a promotion's record: what it decided, by which judgments, and the check that they decide it again."""

from collections.abc import Iterator

from pydantic import ValidationError

from storage.artifacts import Artifacts
from storage.attestation.checks import Check
from storage.attestation.statement import DuelResult, Statement
from storage.errors import ArtifactError, AttestationError
from streams.evaluations import RunArtifacts
from streams.versions import Version
from trainers.audits.duel import DuelRule, assess, assess_canary


def duel_results(version: Version, artifacts: Artifacts) -> tuple[DuelResult, ...]:
    """The outcomes of the version's duel and canary, for its record.

    Raises
    ------
    AttestationError
        The evidence of one of them cannot be read.
    """
    found = []
    for event in version.decided:
        evidence = RunArtifacts(artifacts).evidence(event.evidence or "")
        if isinstance(evidence, str) or event.evidence is None or version.terms.duel is None:
            raise AttestationError(f"{event.stage}: {evidence if isinstance(evidence, str) else 'it names no evidence'}")
        state = assess(evidence.judgments, version.terms.duel)
        found.append(
            DuelResult(
                stage=event.stage,
                outcome=event.outcome,
                through_sequence=event.through_sequence,
                judgments=state.counted,
                recruiters=state.recruiters,
                win_rate=state.win_rate,
                low=state.low,
                high=state.high,
                evidence=event.evidence,
            )
        )
    return tuple(found)


def duel_checks(statement: Statement, artifacts: Artifacts) -> Iterator[Check]:
    """Where the run's settings ask for a duel, the record has one, and its evidence decides the same again."""
    settings_sha = statement.digest("settings")
    if settings_sha is None:
        return
    run = RunArtifacts(artifacts)
    settings = run.settings(settings_sha)
    if isinstance(settings, str) or "duel" not in settings.sections:
        return  # gate_checks reports settings that cannot be read; older runs have no duel
    try:
        rule = DuelRule.model_validate(settings.sections["duel"])
    except ValidationError as error:
        yield Check("duel", "failed", f"the rule in the run's settings cannot be read: {error.errors()[0]['msg']}")
        return
    if not rule.required:
        yield Check("duel", "passed", "the run's settings ask for none")
        return
    results = {result.stage: result for result in statement.evidence.duel}
    for stage in ("duel", "canary") if rule.canary else ("duel",):
        if stage not in results:
            yield Check(stage, "failed", "the run's settings ask for one, and the record has none")
        else:
            yield _decided_again(statement, results[stage], rule, run)


def _decided_again(statement: Statement, result: DuelResult, rule: DuelRule, run: RunArtifacts) -> Check:
    try:
        evidence = run.evidence(result.evidence)
    except ArtifactError as error:
        return Check(result.stage, "failed", str(error))
    if isinstance(evidence, str):
        return Check(result.stage, "failed", evidence)
    named = (evidence.version, evidence.champion, evidence.settings)
    if named != (statement.evidence.version, statement.evidence.champion, statement.digest("settings")):
        return Check(result.stage, "failed", "its evidence is about other versions or settings")
    state = assess(evidence.judgments, rule)
    outcome, through = state.outcome, state.through_sequence
    if result.stage == "canary":
        outcome, through, _ = assess_canary(evidence.judgments, rule, len(rule.canary) - 1)
    if (outcome, through, state.counted) != (result.outcome, result.through_sequence, result.judgments) or outcome != "better":
        return Check(result.stage, "failed", f"its evidence decides {outcome} at {through}, the record says {result.outcome}")
    return Check(result.stage, "passed", f"decided again by {result.judgments} judgments of {result.recruiters} recruiters")
