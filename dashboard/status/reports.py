"""Reads findings and limits out of a report that another version of the program may have written."""

from typing import Any

from pydantic import ValidationError

from trainers.audits.audit import Finding, Limits
from trainers.audits.table import audits
from trainers.runs.report import Report


def findings_of(report: Report) -> dict[str, Finding]:
    """The report's findings by audit; without those that another version of the program has written in another form."""
    found: dict[str, Finding] = {}
    for name, audit in audits().items():
        if name in report.findings:
            try:
                found[name] = audit.finding.model_validate(report.findings[name])
            except ValidationError:
                continue
    return found


def limits_of(report: Report, gate: str) -> Limits | None:
    """The limits that the run's settings have for the gate, or its defaults; None if there is no such audit or they cannot be read."""
    gates: Any = report.settings.get("gates")
    audit = audits().get(gate)
    try:
        return audit.limits.model_validate(gates.get(gate, {}) if isinstance(gates, dict) else {}) if audit is not None else None
    except ValidationError:
        return None
