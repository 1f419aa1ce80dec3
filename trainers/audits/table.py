"""The table of audits. A new audit is a file beside this one and a row here."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, create_model

from storage.events import GateResult, Verdict
from trainers.audits import conduct, facts, kl_budget, name_contrast, win_rate
from trainers.audits.audit import Audit, Finding

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

AUDITS: tuple[Audit, ...] = (win_rate.AUDIT, kl_budget.AUDIT, facts.AUDIT, conduct.AUDIT, name_contrast.AUDIT)


def by_name() -> dict[str, Audit]:
    """The audits by the names of their gates.

    Raises
    ------
    ValueError
        Two rows have one name.
    """
    found: dict[str, Audit] = {}
    for audit in AUDITS:
        if audit.name in found:
            raise ValueError(f"two audits are named {audit.name!r}: give one of them another name")
        found[audit.name] = audit
    return found


def gates_section() -> type[BaseModel]:
    """The section ``[gates]`` of the settings: the limits of each audit under its name, with their defaults."""
    fields: dict[str, Any] = {name: (audit.limits, audit.limits()) for name, audit in by_name().items()}
    model: type[BaseModel] = create_model("Gates", __config__=ConfigDict(frozen=True, extra="forbid"), **fields)
    model.__doc__ = "The section ``[gates]``: what each audit's finding is held against."
    return model


def measure(trial: "Trial", progress: Callable[[int, int], None]) -> dict[str, Finding]:
    """Every audit's finding, by name; ``progress`` is called with the audits done and all of them."""
    rows = by_name()
    findings: dict[str, Finding] = {}
    for name, audit in rows.items():
        findings[name] = audit.measure(trial)
        progress(len(findings), len(rows))
    return findings


def gate(findings: Mapping[str, Any], limits: BaseModel) -> tuple[GateResult, ...]:
    """Every finding put to its gate, in the order of the table."""
    return tuple(audit.gate(findings[name], getattr(limits, name)) for name, audit in by_name().items())


def verdict(results: Iterable[GateResult]) -> Verdict:
    """Failed where any gate failed; else insufficient where any lacks evidence, or none was asked; else passed."""
    verdicts = {result.verdict for result in results}
    if "failed" in verdicts:
        return "failed"
    return "passed" if verdicts == {"passed"} else "insufficient"


def read_findings(values: Mapping[str, Any]) -> dict[str, Finding]:
    """The findings of a report, each read by its audit's model; those of audits that this program does not have are left out."""
    rows = by_name()
    return {name: rows[name].finding.model_validate(value) for name, value in values.items() if name in rows}
