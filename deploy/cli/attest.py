"""``feedbackloop attest``: verify and show the signed records of promotions, offline, with public keys and the artifact store."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from storage.artifacts import Artifacts
from storage.errors import ConfigurationError
from storage.settings import Settings

attest = typer.Typer(help="The signed records of promotions.", no_args_is_help=True)

MARKS = {"passed": "ok  ", "failed": "FAIL", "not checked": "--  "}

RecordArgument = Annotated[str, typer.Argument(help="A record's file, or its hash in the artifact store.")]
ArtifactsOption = Annotated[str | None, typer.Option(help="Folder or URL of the artifact store; the configured one by default.")]
JSONOption = Annotated[Path | None, typer.Option("--json", help="Write the result as JSON to this file too.")]


@attest.command()
def verify(
    record: RecordArgument,
    artifacts: ArtifactsOption = None,
    keys: Annotated[
        list[Path] | None, typer.Option(help="Trust these public keys of services (PEM) instead of the configured ones; may be repeated.")
    ] = None,
    reviewer_keys: Annotated[list[Path] | None, typer.Option(help="With --keys: trust these public keys of reviewers.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The base model to compare: a folder, or 'shipped'; the configured one unless --artifacts is given.")
    ] = None,
    json_file: JSONOption = None,
) -> None:
    """Check signatures, artifacts, gates and the chain of a promotion's record; exit code 1 if anything fails."""
    from storage.attestation.keys import public_keys
    from streams.attestation import verify as verification

    settings = Settings.read()
    raw = _raw(settings, record, artifacts)
    given = public_keys(keys or ()) | public_keys(reviewer_keys or (), "reviewer")
    trusted = given or _keys(settings).trusted()
    compared = model or (settings.common.model if artifacts is None else None)
    found = verification.verify(raw, _store(settings, artifacts), trusted, None if compared is None else _base_hash(compared))
    for check in found.checks:
        typer.echo(f"{MARKS[check.outcome]} {check.what}: {check.words}")
    typer.echo("the record is valid" if found.ok else f"the record is NOT valid: {len(found.failures)} checks failed")
    checks = [{"what": check.what, "outcome": check.outcome, "words": check.words} for check in found.checks]
    _write_json(json_file, {"valid": found.ok, "checks": checks})
    if not found.ok:
        raise typer.Exit(1)


@attest.command()
def show(record: RecordArgument, artifacts: ArtifactsOption = None, json_file: JSONOption = None) -> None:
    """Print what a record states, without verifying it."""
    from storage.attestation.envelope import read_record

    read = read_record(_raw(Settings.read(), record, artifacts))
    statement = read.statement()
    evidence = statement.evidence
    lines = [
        f"record     {read.sha}",
        f"version    {evidence.version}, promoted {statement.predicate.time_created.isoformat()}",
        f"champion   {evidence.champion} before; its record is {evidence.previous or 'none: this is the first'}",
        f"base       {evidence.base.name}, {evidence.base.sha256 or 'not hashed'}",
        f"run        {evidence.run_id}, {evidence.method}, judgments up to {evidence.through_sequence} of {', '.join(evidence.sources)}",
        *(f"subject    {subject.name} {subject.digest.sha256}" for subject in statement.subject),
        *(
            f"gate       {gate.name}: {gate.verdict}, {_figure(gate.figure)} [{_figure(gate.low)}, {_figure(gate.high)}] {gate.unit}, "
            f"n = {gate.n}, limit: {gate.limit}"
            for gate in evidence.gates
        ),
        f"policy     {statement.predicate.verifier.policy.digest.sha256}",
        *(f"signed by  {signer.role} {signer.keyid}" for signer in evidence.signers),
    ]
    typer.echo("\n".join(lines))
    _write_json(json_file, statement.model_dump(mode="json"))


def _raw(settings: Settings, record: str, artifacts: str | None) -> bytes:
    path = Path(record)
    if path.is_file():
        return path.read_bytes()
    if len(record) == 64 and set(record) <= set("0123456789abcdef"):
        return _store(settings, artifacts).read(record)
    raise ConfigurationError(f"{record}: neither a file nor the 64 hex digits of a record's hash")


def _store(settings: Settings, artifacts: str | None) -> Artifacts:
    if artifacts is not None and "://" not in artifacts and not Path(artifacts).is_dir():
        raise ConfigurationError(f"--artifacts {artifacts}: there is no such folder")
    return Artifacts(artifacts or settings.common.artifacts_url)


def _keys(settings: Settings) -> Any:
    from storage.attestation.keys import Keys
    from storage.attestation.settings import AttestationSettings

    return Keys(settings.common.home, settings.section("attestation", AttestationSettings))


def _base_hash(model: str) -> str | None:
    from trainers.models.references import base_hash

    return base_hash(model)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _write_json(file: Path | None, value: Any) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
