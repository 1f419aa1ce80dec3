"""``feedbackloop audit model``: one version's lineage from judgments to promotion as a printable page, CSV files and a model card."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.audit_pack.files import write_files
from storage.artifacts import Artifacts
from storage.errors import ArtifactError, ConfigurationError
from storage.settings import Settings
from streams.attestation.history import promotion_of
from streams.attestation.verify import Verification, verify
from streams.bus.protocol import Bus
from streams.runs import Run
from streams.versions import Version, Versions
from trainers.runs.report import Report

Rows = list[tuple[str, str]]
GATE_HEADER = ("gate", "verdict", "figure", "low", "high", "unit", "n", "limit", "words")


@dataclass(frozen=True)
class ModelAudit:
    """What is known about a version.

    Attributes
    ----------
    judgments : rows of its snapshot by (stratum, source), and the number of different recruiters; None if the snapshot is not there
    report : the evaluation report; None with the reason in ``missing`` if it cannot be read
    verification : of the promotion's record; None if there is no record
    """

    version: Version
    run: Run
    champions: tuple[str, ...]
    promotion: Any
    judgments: tuple[Counter[tuple[str, str]], int] | None
    report: Report | None
    verification: Verification | None
    missing: tuple[str, ...]


def model(
    version: Annotated[str, typer.Argument(help="The version, such as v-0123456789ab.")],
    out: Annotated[Path, typer.Option(help="The folder to write to; files of the same name are replaced.")],
) -> None:
    """Write a version's lineage, gates, review, promotion and verified record as HTML for print, CSV files and a model card."""
    from streams.bus.open import bus_of

    settings = Settings.read()
    with closing(bus_of(settings)) as bus:
        found = read_audit(settings, bus, version)
    for path in write(found, out):
        typer.echo(str(path))


def read_audit(settings: Settings, bus: Bus, version: str) -> ModelAudit:
    """Collect what log and artifact store hold about the version.

    Raises
    ------
    ConfigurationError
        There is no such version.
    """
    from storage.attestation.keys import Keys
    from storage.attestation.settings import AttestationSettings
    from streams import runs
    from streams.bus.scan import to_end
    from streams.evaluations import KINDS, TOPICS, RunArtifacts, lives_of

    artifacts = Artifacts(settings.common.artifacts_url)
    events = [event for event in to_end(bus, TOPICS, "audit") if isinstance(event, KINDS)]
    versions: Versions = lives_of(events, RunArtifacts(artifacts))
    found = versions.versions.get(version)
    if found is None:
        known = ", ".join(list(versions.versions)[-5:]) or "none yet"
        raise ConfigurationError(f"there is no version {version[:80]!r}; the newest are {known}")
    run = runs.fold(events)[found.evaluated.run_id]
    missing: list[str] = []
    promotion = promotion_of(versions, version)
    record = None if promotion is None or promotion.record is None else promotion.record
    verification = None
    if record is not None:
        try:
            trusted = Keys(settings.common.home, settings.section("attestation", AttestationSettings)).trusted()
            verification = verify(artifacts.read(record), artifacts, trusted)
        except ArtifactError as error:
            missing.append(f"record: {error}")
    return ModelAudit(
        version=found,
        run=run,
        champions=versions.champions,
        promotion=promotion,
        judgments=_judgments(artifacts, run, missing),
        report=_report(artifacts, found.evaluated.report, missing),
        verification=verification,
        missing=tuple(missing),
    )


def write(found: ModelAudit, out: Path) -> list[Path]:
    """Write the files; an equal audit gives equal bytes.

    Raises
    ------
    ConfigurationError
        The folder cannot be written.
    """
    from deploy.audit_pack.model_card import card
    from deploy.audit_pack.model_page import page

    checks = found.verification.checks if found.verification is not None else ()
    files = {
        "model.html": page(found),
        "lineage.csv": _csv(("what", "value"), lineage(found)),
        "gates.csv": _csv(GATE_HEADER, gate_rows(found)),
        "record.csv": _csv(("check", "outcome", "words"), [(check.what, check.outcome, check.words) for check in checks]),
        "README.md": card(found),
    }
    return write_files(out, files)


def lineage(found: ModelAudit) -> Rows:
    """From judgments to promotion, one fact a row."""
    event, run = found.version.evaluated, found.run
    rows: Rows = [("version", event.version), ("status", found.version.status), ("adapter", event.policy)]
    if found.judgments is not None:
        counts, recruiters = found.judgments
        rows += [(f"judgments, {stratum} stratum, source {source}", str(n)) for (stratum, source), n in sorted(counts.items())]
        rows.append(("recruiters", str(recruiters)))
    if run.request is not None:
        rows += [
            ("run", str(event.run_id)),
            ("method", run.request.method),
            ("requested", f"{run.request.occurred_at.isoformat()}, by {run.request.threshold}"),
            ("judgments up to number", str(run.request.through_sequence)),
            ("sources", ", ".join(run.request.sources)),
            ("settings", run.request.settings or "not recorded"),
        ]
    if run.frozen is not None:
        rows += [("snapshot", run.frozen.snapshot), ("judged against", run.frozen.champion)]
    if found.report is not None:
        rows += [
            ("base model", found.report.base.rsplit("/", 1)[-1]),
            ("base model's hash", found.report.lineage.base_hash or "not hashed"),
        ]
        rows.append(("embedding", f"{found.report.lineage.embedding}, {found.report.lineage.embedding_hash}"))
    rows += [("evaluated", event.occurred_at.isoformat()), ("report", event.report), ("verdict of the gates", event.verdict)]
    for review in found.version.reviews:
        rows.append((f"review: {review.decision}", f"{review.occurred_at.isoformat()}, {review.reviewer}: {review.reason}"))
    if found.promotion is None:
        rows.append(("promotion", "none"))
    else:
        rows.append(("promoted", found.promotion.occurred_at.isoformat()))
        rows.append(("record", found.promotion.record or "not attested: promoted before records were kept"))
    if found.verification is not None:
        failed = len(found.verification.failures)
        rows.append(("verification of the record", "valid" if found.verification.ok else f"NOT valid: {failed} checks failed"))
    return rows + [("missing", reason) for reason in found.missing]


def gate_rows(found: ModelAudit) -> list[tuple[object, ...]]:
    """Each gate with its figure, interval, sample size, limit and words."""
    return [
        (gate.name, gate.verdict, gate.figure, gate.low, gate.high, gate.unit, gate.n, gate.limit, gate.words)
        for gate in found.version.evaluated.gates
    ]


def _judgments(artifacts: Artifacts, run: Run, missing: list[str]) -> tuple[Counter[tuple[str, str]], int] | None:
    from storage.snapshots.snapshot import open_snapshot

    if run.frozen is None:
        return None
    try:
        rows = (
            open_snapshot(artifacts.get(run.frozen.snapshot)).stored("preferences").select(["stratum", "source", "recruiter"]).to_pylist()
        )
    except ArtifactError as error:
        missing.append(f"snapshot: {error}")
        return None
    return Counter((row["stratum"], row["source"]) for row in rows), len({row["recruiter"] for row in rows})


def _report(artifacts: Artifacts, sha: str, missing: list[str]) -> Report | None:
    from trainers.runs.report import read_report

    try:
        return read_report(artifacts, sha)
    except ArtifactError as error:
        missing.append(f"report: {error}")
        return None


def _csv(header: tuple[str, ...], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
